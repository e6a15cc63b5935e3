"""Modified files through every reader: each is refused in one line, or read unchanged.

    python -m benchmarks.fuzz [--files 400] [--runs 1000] [--seed 0] [--only NAME]

First, of each reader of `fuzz_readers/`, so many changed files (a quarter as many through the whole command `dprune
inspect`, which is slower), changed at random by `fuzz_changes.py`. Each process has a limit of memory, each file one of
time. Then a coverage-guided fuzzer, atheris, on the readers whose parsing is our own or Python's (`fuzz_guided.py`);
without the package this part is left out. Linux. What is found is printed, and kept in `runs/fuzz`.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.common import RUNS, publish, table

OUTCOMES = ("refused", "same", "other", "unsigned", "silent", "crash", "hang")
FAULTS = ("silent", "crash", "hang")
SECONDS, PATIENCE = 10.0, 60.0
"""Of processor time for a file, which a busy machine does not change; and of the clock, for one that waits."""
START_PATIENCE = 600.0
"""Of the clock, for the process that makes valid files, which may compile first."""
MEMORY = 2 * 2**30
"""That a process may take beyond what it has when all is imported."""
GUIDED = (
    "scores", "subset", "masks", "ensemble member", "dataset", "dataset with options", "options of a dataset", "row store",
    "run folder", "recording", "soft labels",
    "label-issues", "ids .npy", "ids .txt", "image paths", "recipe", "teacher .json", "tensors",
)  # fmt: skip
PLACE = RUNS / "fuzz"


class Hang(BaseException):
    """Raised when a file takes longer than `SECONDS`."""


def _ring(number: int, frame: FrameType | None) -> None:
    raise Hang


def judge(reader: Any, folder: Path, original: str, changed: bytes, ending: str, plain: bool) -> tuple[str, str]:
    """Return (outcome, exception) of one modified file in `folder`."""
    from benchmarks.fuzz_changes import signed
    from benchmarks.fuzz_readers.reader import ALL, BYTES, content
    from datapruning.errors import UserError
    from datapruning.io.checksums import _cached_digest

    _cached_digest.cache_clear()  # files of one size that are written within one tick of the clock look alike to it
    try:
        outcome_content = content(reader.read(folder))
    except UserError as error:
        lines = str(error).splitlines()
        return ("refused", lines[0]) if len(lines) == 1 else ("crash", f"{len(lines)} lines: {error}")
    except Hang:
        return "hang", ""
    except Exception:
        return "crash", traceback.format_exc()
    if outcome_content == original:
        return "same", ""
    if reader.sealed == ALL:
        return ("silent" if signed(changed, ending) else "unsigned"), ""
    return ("silent" if reader.sealed == BYTES and plain else "other"), ""


def work(name: str, seed: int, start: int, count: int, connection: Connection) -> None:
    """Test files start..count-1 of a reader in this process, with a message before and after each."""
    import torch

    from benchmarks.fuzz_changes import changed
    from benchmarks.fuzz_readers import READERS
    from benchmarks.fuzz_readers.reader import content

    torch.set_num_threads(1)
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as temporary_folder:
        folder = Path(temporary_folder)
        reader.make(folder)
        original = content(reader.read(folder))
        originals = {file: (folder / file).read_bytes() for file in reader.files}
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
        signal.signal(signal.SIGPROF, _ring)
        for number in range(start, count):
            rng = random.Random(f"{seed} {name} {number}")
            file = rng.choice(reader.files)
            ending = file.rpartition(".")[2]
            changed_file, plain = changed(originals[file], ending, rng)
            (folder / file).write_bytes(changed_file)
            connection.send({"begun": number})
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            outcome, why = judge(reader, folder, original, changed_file, ending, plain)
            signal.setitimer(signal.ITIMER_PROF, 0)
            (folder / file).write_bytes(originals[file])
            if outcome in FAULTS:
                PLACE.mkdir(parents=True, exist_ok=True)
                (PLACE / f"{name.replace(' ', '-')}-{number}.{ending}").write_bytes(changed_file)
            connection.send({"done": number, "outcome": outcome, "file": file, "why": why if outcome in FAULTS else ""})
    connection.send({"over": True})


def watch(name: str, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Return the outcomes of a reader's files, from processes that are restarted when one dies or hangs."""
    context = multiprocessing.get_context("fork")
    outcomes, faults, start, finished = Counter[str](), list[str](), 0, False
    while not finished:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(name, seed, start, count, sender))
        process.start()
        sender.close()
        current_file, fault = -1, ""
        try:
            while not finished:
                if not receiver.poll(PATIENCE if current_file >= 0 else START_PATIENCE):
                    process.kill()
                    fault = "hang"
                    break
                message = receiver.recv()
                finished = "over" in message
                current_file = message.get("begun", -1)
                if "done" in message:
                    outcomes[message["outcome"]] += 1
                    start = message["done"] + 1
                    if message["outcome"] in FAULTS:
                        cause = f"{message['outcome']} {message['why']}"
                        faults.append(f"{name}, file {message['done']} ({message['file']}): {cause}")
        except EOFError:
            fault = "crash"
        process.join()
        if finished:
            break
        if current_file < 0:
            sys.exit(f"{name}: the fuzzer itself failed")
        outcomes[fault] += 1
        faults.append(f"{name}, file {current_file}: {fault}, the process ended with {process.exitcode}")
        start = current_file + 1
    return outcomes, faults


def guided(name: str, seed: int, runs: int) -> tuple[int, str]:
    """Return (number of files of the coverage-guided fuzzer, its outcomes)."""
    command = [sys.executable, "-m", "benchmarks.fuzz_guided", name, f"-runs={runs}", f"-seed={seed + 1}"]
    process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    number = re.findall(r"^(?:Done (\d+) runs|#(\d+)\s)", process.stderr, re.MULTILINE)
    tried = int(next(filter(None, number[-1]))) if number else 0
    if process.returncode == 0:
        return tried, ""
    return tried, f"{name}, guided: exit code {process.returncode}\n{process.stderr[-4000:]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400, help="changed files a reader; a quarter through inspect")
    parser.add_argument("--runs", type=int, default=1000, help="of the coverage-guided fuzzer, a reader; 0: without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one reader; nothing is published")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "DPRUNE_QUIET": "1"}
    from benchmarks.fuzz_readers import READERS  # once: every reader's process is a fork of this one

    shutil.rmtree(PLACE, ignore_errors=True)
    started = time.perf_counter()
    counts, tries, faults = dict[str, Counter[str]](), dict[str, int](), list[str]()
    for name in [args.only] if args.only else READERS:
        count = args.files // 4 if name.startswith("inspect") else args.files
        counts[name], reader_faults = watch(name, args.seed, count)
        faults += reader_faults
        if name in GUIDED and args.runs and importlib.util.find_spec("atheris"):
            tries[name], what = guided(name, args.seed, args.runs)
            counts[name]["crash"] += bool(what)
            faults += [what] if what else []
        print(f"{name}: {dict(counts[name])}, guided {tries.get(name, 0)}", flush=True)
        for fault in reader_faults:
            print(f"  {fault}", flush=True)
    seconds = time.perf_counter() - started
    if not args.only:
        report(counts, tries, faults, seconds, args)
    if faults:
        sys.exit("\n\n".join(faults))


def report(
    counts: dict[str, Counter[str]], tries: dict[str, int], faults: list[str], seconds: float, args: argparse.Namespace
) -> None:
    """Print and write the result."""
    total, guided_total = sum(sum(outcomes.values()) for outcomes in counts.values()), sum(tries.values())
    bad = {what: sum(outcomes[what] for outcomes in counts.values()) for what in FAULTS}
    guided = f", and {guided_total:,} more from a coverage-guided fuzzer (atheris, {len(tries)} readers)" if tries else ""
    head = ["reader", "files", "refused", "same content", "another valid file", "no checksum any more", *FAULTS, "guided"]
    rows = [
        [name, f"{sum(outcomes.values()):,}", *(f"{outcomes[what]:,}" for what in OUTCOMES), f"{tries.get(name, 0):,}"]
        for name, outcomes in counts.items()
    ]
    body = (
        f"{total:,} changed files through {len(counts)} readers, seed {args.seed}"
        f"{guided}, in {seconds / 60:.0f} minutes: **{bad['crash']} crashes, "
        f"{bad['hang']} hangs, {bad['silent']} silent acceptances**.\n\n"
        "A file is changed by one to three of: bits flipped, bytes cut off, inserted, removed, repeated, swapped, "
        "overwritten; members of archives renamed, dropped, swapped, doubled, added or changed, with the archive's own "
        "checksums made anew; types, shapes and order in headers of arrays; values and keys of JSON; headers of "
        "safetensors; words and lines of texts. Only one file of a folder is changed at a time. *Refused*: a `UserError` of "
        "one line; through `dprune inspect`, exit code 2 and one line. *Same content*: read as what it was (a time in an "
        "archive's directory, white space). *Another valid file*: of lists, recipes, images and weights from elsewhere, "
        "which carry no checksum of ours; a dataset, packed anew with checksums that fit, has another fingerprint. *No "
        "checksum any more*: the change took the checksum away together with something else; of weights and FFCV caches, "
        "which other programs write too. *Crash*: any other exception, or the end of the process. *Hang*: "
        f"more than {SECONDS:.0f} s of processor time, or {PATIENCE:.0f} s of waiting. Memory: {MEMORY / 2**30:.0f} GB.\n\n"
        + table(head, rows)
    )
    command = f"python -m benchmarks.fuzz --files {args.files} --runs {args.runs} --seed {args.seed}"
    data = {
        "seed": args.seed, "seconds": round(seconds, 1),
        "readers": {name: dict(outcomes) for name, outcomes in counts.items()},
        "guided": tries, "faults": faults,
    }  # fmt: skip
    publish("fuzz", "Changed files: refused in one line, or read as what they were", command, body, data)


if __name__ == "__main__":
    main()
