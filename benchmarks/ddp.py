"""Two processes under torchrun against one: the same samples, the same accuracy, the same scores, and a process that dies.

    python -m benchmarks.ddp [--seeds 5] [--kills 4]

Fashion-MNIST (`$DPRUNE_DATA`), its first 6,000 training samples and all test samples. One process and two train teachers of
the same global batches; a network that one process trained is scored by one and by two; and two processes train while one
of them gets SIGKILL at a random moment, and train on after the same command. Every process has one thread. About ten
minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import RUNS, data_folder, mean_spread, publish, table
from datapruning.io.json import read_json
from datapruning.utils.console import info

SAMPLES, EPOCHS, BATCH, PROCESSES = 6000, 4, 128, 2
SETTINGS = (f"teacher.epochs={EPOCHS}", f"teacher.batch_size={BATCH}")
CHECKPOINT_SECONDS = 1.0
"""Between two checkpoints of the runs that are killed, which are short."""
LIMIT = 600
STATISTICS = ("error_norm", "loss", "margin", "entropy", "confidence", "gap")


def begin(processes: int, *options: object) -> subprocess.Popen[str]:
    """Start one part of the benchmark in `processes` single-threaded processes."""
    torchrun = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *torchrun, "-m", "benchmarks.ddp", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DPRUNE_QUIET": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def done(processes: int, *options: object) -> None:
    """Run one part of the benchmark and wait for its end."""
    process = begin(processes, *options)
    _, errors = process.communicate(timeout=LIMIT)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, options))} in {processes} processes ended with {process.returncode}:\n{errors}")


def write_data(path: Path) -> None:
    """Write the first samples of Fashion-MNIST."""
    import datapruning as dp

    dataset = dp.open_dataset("fashion-mnist", root=data_folder())
    np.savez(
        path, train_images=dataset.train.images[:SAMPLES], train_labels=dataset.train.labels[:SAMPLES],
        test_images=dataset.test.images, test_labels=dataset.test.labels,
    )  # fmt: skip


def take_part(action: str, folder: Path, out: Path, seed: int) -> int:
    """Run the part of the benchmark that `begin` named, in a started process."""
    import datapruning as dp
    from datapruning.training.distributed.start import run_together, under_torchrun

    def work() -> int:
        data = dp.open_dataset(str(folder / "data.npz"))
        context = dp.open_context(
            data, recipe="fashion-mnist", changes=SETTINGS, device="cpu", loader="memory", workspace=folder / "work",
            threads=1,
        )  # fmt: skip
        if action == "look":
            np.savez(out, allow_pickle=False, **looked(context, folder / "alone-0"))
        else:
            dp.teach(context, seed=seed, out=out)
        return 0

    if action == "count":
        count_reads(out)
    if action == "saving":
        from datapruning.training import checkpoint

        checkpoint.SAVE_INTERVAL_SECONDS = CHECKPOINT_SECONDS
    return run_together(work) if under_torchrun() else work()


def count_reads(out: Path) -> None:
    """Count how often this process loads each training sample, and write the counts when it ends."""
    import atexit

    from datapruning.data.loaders.split_loaders import InMemoryLoader

    counts, read = np.zeros(SAMPLES, np.int64), InMemoryLoader.read

    def counting(self: InMemoryLoader, batches: Sequence[NDArray[np.int64]]) -> Iterator[Any]:
        for batch in read(self, batches):
            if len(self) == SAMPLES:
                np.add.at(counts, batch.ids, 1)
            yield batch

    InMemoryLoader.read = counting  # type: ignore[method-assign]
    name = out.with_name(f"{out.name}-counts-{os.environ.get('RANK', '0')}.npy")
    atexit.register(lambda: np.save(name, counts))


def looked(context: Any, run: Path) -> dict[str, NDArray[Any]]:
    """Return statistics and features of every training sample from a finished network."""
    from datapruning.evidence.gradients import gradient_norms
    from datapruning.evidence.sample_stats import statistics as statistics_of
    from datapruning.io.tensors import load_tensors
    from datapruning.training.checkpoint import load_weights
    from datapruning.training.evaluate import predict_with_features
    from datapruning.training.reproducibility import reproducible

    model = context.new_model(context.recipe.teacher.model, 0)
    load_weights(model, load_tensors(run / "model.safetensors")[0], run)
    batches: dict[str, list[NDArray[Any]]] = {name: [] for name in (*STATISTICS, "features")}
    with reproducible(1):
        parts = predict_with_features(model, context.split("train"), np.arange(SAMPLES), context.views)
        for _, labels, logits, features in parts:
            values = {**statistics_of(logits, labels), "features": features}
            for name, arrays in batches.items():
                arrays.append(values[name].numpy())
        last = gradient_norms(context, model, "last", "")
    return {**{name: np.concatenate(arrays) for name, arrays in batches.items()}, "last-layer gradient": last}


def compare_runs(folder: Path, seeds: int) -> list[dict[str, Any]]:
    """Measure test accuracy and seconds of one and two processes in alternation, one row per seed."""
    rows = []
    for seed in range(seeds):
        row: dict[str, Any] = {"seed": seed}
        for name, processes in (("alone", 1), ("together", PROCESSES)):
            out = folder / f"{name}-{seed}"
            if not (out / "result.json").exists():
                done(processes, "--do", "count" if seed == 0 else "teach", "--folder", folder, "--out", out, "--seed", seed)
            result = read_json(out / "result.json")
            assert result["processes"] == processes
            row |= {name: result["test_accuracy"], f"{name}_seconds": result["seconds"]["train"]}
            row |= {f"{name}_samples": result["samples_seen"]}
        info(f"seed {seed}: {row['alone']:.2f}% alone, {row['together']:.2f}% together")
        rows.append(row)
    return rows


def seen(folder: Path) -> dict[str, Any]:
    """Count how often each sample was loaded for training, by one process and by two together."""
    alone = np.load(folder / "alone-0-counts-0.npy")
    counts = [np.load(folder / f"together-0-counts-{rank}.npy") for rank in range(PROCESSES)]
    return {
        "epochs": EPOCHS, "alone": [int(alone.min()), int(alone.max())],
        "together": [int(sum(counts).min()), int(sum(counts).max())], "differing": int((alone != sum(counts)).sum()),
        "by_process": [int(one.sum()) for one in counts],
    }  # fmt: skip


def compare_scores(folder: Path) -> dict[str, float]:
    """Return the largest difference of each statistic of one checkpoint."""
    for processes in (1, PROCESSES):
        done(processes, "--do", "look", "--folder", folder, "--out", folder / f"look-{processes}.npz")
    with np.load(folder / "look-1.npz") as one, np.load(folder / f"look-{PROCESSES}.npz") as two:
        return {name: float(np.abs(one[name] - two[name]).max()) for name in one.files}


def child(parent: int, rank: int) -> int | None:
    """Return the process of a rank that torchrun started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_child = int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if is_child and f"\0RANK={rank}\0".encode() in (path / "environ").read_bytes():
                return int(path.name)
        except (OSError, IndexError):
            continue  # it has ended
    return None


def kill_and_go_on(folder: Path, kills: int) -> list[dict[str, Any]]:
    """Run with killed processes, one row per kill; each run ends before the next one starts."""
    reference = folder / "whole"
    shutil.rmtree(reference, ignore_errors=True)
    done(PROCESSES, "--do", "saving", "--folder", folder, "--out", reference)
    seconds = read_json(reference / "result.json")["seconds"]["train"]
    rows: list[dict[str, Any]] = []
    rng = random.Random(0)
    while len(rows) < kills:
        out, rank = folder / f"killed-{len(rows)}", len(rows) % PROCESSES
        shutil.rmtree(out, ignore_errors=True)
        options = ("--do", "saving", "--folder", folder, "--out", out)
        process, moment = begin(PROCESSES, *options), rng.uniform(0.2, 0.9) * seconds
        while not (out / "config.toml").exists():
            time.sleep(0.05)
        time.sleep(moment)
        victim = child(process.pid, rank)
        if victim is None or (out / "result.json").exists():
            process.communicate(timeout=LIMIT)
            continue  # it was faster this time
        os.kill(victim, signal.SIGKILL)
        killed = time.perf_counter()
        _, errors = process.communicate(timeout=LIMIT)
        ended = time.perf_counter() - killed
        assert process.returncode, "torchrun says that a process died"
        assert not (out / "result.json").exists()
        done(PROCESSES, *options)
        bits = (out / "model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()
        ours = [line for line in errors.splitlines() if line.startswith("dprune: ")]
        rows.append({"rank": rank, "after": round(moment, 1), "ended": round(ended, 1), "same_bits": bits, "said": ours})
        info(f"killed process {rank} after {moment:.1f} s: over in {ended:.1f} s, same bits at the end: {bits}")
    return rows


def main() -> None:
    """Kill processes of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--do", choices=("teach", "count", "saving", "look"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.do:
        sys.exit(take_part(args.do, args.folder, args.out, args.seed))
    folder = RUNS / "ddp"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data.npz").exists():
        write_data(folder / "data.npz")
    runs, counts = compare_runs(folder, args.seeds), seen(folder)
    scores, kills = compare_scores(folder), kill_and_go_on(folder, args.kills)
    show(runs, counts, scores, kills)


def times(counts: Sequence[int]) -> str:
    """Format minimum and maximum."""
    low, high = counts
    return f"{low} times" if low == high else f"{low} to {high} times"


def show(runs: list[dict[str, Any]], counts: dict[str, Any], scores: dict[str, float], kills: list[dict[str, Any]]) -> None:
    """Print and write the tables."""
    alone, together = ([row[name] for row in runs] for name in ("alone", "together"))
    gaps = [two - one for one, two in zip(alone, together, strict=True)]
    rows = [[str(k), f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}"] for k, (a, b) in enumerate(zip(alone, together, strict=True))]
    rows.append(["**all**", mean_spread(alone), mean_spread(together), mean_spread(gaps)])
    rate = [statistics.median(EPOCHS * SAMPLES / r[f"{name}_seconds"] for r in runs) for name in ("alone", "together")]
    body = f"""Fashion-MNIST, the first {SAMPLES:,} training samples, all 10,000 test samples, convnet, {EPOCHS} epochs, global batches of {BATCH}, gloo on a CPU, one thread in each process. Batch norm takes the statistics of a process's own rows, {BATCH // PROCESSES} of {BATCH}.

## Accuracy

Test accuracy in percent; the same seed is the same initialisation and the same global batches.

{table(["seed", "1 process", f"{PROCESSES} processes", "difference"], rows)}

Images a second in training, median: {rate[0]:,.0f} with one process, {rate[1]:,.0f} with {PROCESSES}; the machine was busy with other work, so this is no measure of scaling.

## Samples seen

Loaded for training, counted at the loader of each process (seed 0): in {EPOCHS} epochs one process loaded every sample {times(counts["alone"])}, {PROCESSES} processes together {times(counts["together"])}; samples whose counts differ: {counts["differing"]}. The processes loaded {" and ".join(f"{n:,}" for n in counts["by_process"])}. No padding, no duplicates.

## Scores of one checkpoint

What one network (seed 0, trained by one process) says of all {SAMPLES:,} training samples, with one process and with {PROCESSES}:

{table(["statistic", "largest difference"], [[name, f"{value:g}"] for name, value in scores.items()])}

## A process that dies

SIGKILL to one of {PROCESSES} processes at a random moment; then the same command again. A checkpoint at most every {CHECKPOINT_SECONDS:g} s.

{table(["killed process", "after", "the others were gone in", "bits at the end as of a run never killed"], [[str(k["rank"]), f"{k['after']:.1f} s", f"{k['ended']:.1f} s", "yes" if k["same_bits"] else "**no**"] for k in kills])}"""  # noqa: E501
    publish(
        "ddp", "Two processes against one", "python -m benchmarks.ddp", body,
        {"runs": runs, "seen": counts, "scores": scores, "kills": kills},
    )  # fmt: skip


if __name__ == "__main__":
    main()
