"""Two processes under torchrun against one: samples, accuracy, scores, what they exchange, and a process that fails.

    python -m benchmarks.ddp [--seeds 5] [--faults 4]

Fashion-MNIST (`$DPRUNE_DATA`), its first 6,000 training samples and all test samples. One process and two train teachers of
the same global batches; a network that one process trained is scored by one and by two; and two processes train while one
of them gets SIGKILL at a random moment, or runs out of memory, and train on after the same command. What they exchange is
counted, and what eight GPUs would do with it computed. Every process has one thread. About ten minutes on two cores.
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
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import RUNS, data_folder, mean_spread, publish, table
from datapruning.io.json import read_json, write_json
from datapruning.utils.console import info

SAMPLES, EPOCHS, BATCH, PROCESSES = 6000, 4, 128, 2
"""`BATCH` is the batch of all processes together."""
CHECKPOINT_SECONDS = 1.0
"""Between two checkpoints of the runs that are killed, which are short."""
LIMIT = 600
FORMER = {"all-reduce": 4 * 94_186, "labels and logits": 3_072, "gradients by logits": 2_560, "messages": 1_115}
"""Bytes that process 0 exchanged per update (convnet, 10 classes, a global batch of 128, 2 processes) when it still dealt
the batches and computed the losses of all: counted in that code, with 4.4 calls beside the all-reduce. Its batches were
split, not multiplied, so that a step of 8 GPUs computed an eighth."""
GPUS, GPU_BATCH, GPU_RATES = 8, 512, {"eager": 40_000, "CUDA graphs": 85_800}
"""ResNet-18 on one H200, 32x32 images: images per second."""
HOST_SECONDS = 0.010
"""Of an eager step, whatever its batch: a split batch cannot be faster."""
RESNET18_NUMBERS, NVLINK_BYTES, NETWORK_BYTES = 11_220_132 + 9_600, 200e9, 12.5e9
"""Weights and running statistics of ResNet-18 with 100 classes; bytes per second of an all-reduce in a machine (NCCL's bus
bandwidth over NVLink is above this), and over a network of 100 Gb/s."""
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


def take_part(action: str, folder: Path, out: Path, seed: int, rank: int) -> int:
    """Run the part of the benchmark that `begin` named, in a started process."""
    import datapruning as dp
    from datapruning.training.distributed.start import run_together, under_torchrun

    def work() -> int:
        from datapruning.utils.processes import is_main, num_processes

        data = dp.open_dataset(str(folder / "data.npz"))
        settings = (f"teacher.epochs={EPOCHS}", f"teacher.batch_size={BATCH // num_processes()}")
        context = dp.open_context(
            data, recipe="fashion-mnist", changes=settings, device="cpu", loader="memory", workspace=folder / "work",
            threads=1,
        )  # fmt: skip
        if action == "statistics":
            arrays = statistics_of_checkpoint(context, folder / "alone-0")
            if is_main():
                np.savez(out, allow_pickle=False, **arrays)
        else:
            dp.teach(context, seed=seed, out=out)
        return 0

    if action == "count":
        count_reads(out)
        count_exchange(out)
    if action in ("saving", "memory"):
        from datapruning.training import checkpoint

        checkpoint.SAVE_INTERVAL_SECONDS = CHECKPOINT_SECONDS
    if action == "memory" and int(os.environ["RANK"]) == rank:
        run_out_of_memory(out)
    return run_together(work) if under_torchrun() else work()


def run_out_of_memory(run: Path) -> None:
    """Have this process run out of memory in a backward pass, some steps after the first checkpoint."""
    import torch

    from datapruning.training.distributed import collectives

    sum_gradients, left = collectives.sum_gradients, [3]

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def counting(model: torch.nn.Module, share: float, loss: torch.Tensor) -> torch.Tensor:
        left[0] -= (run / "checkpoint" / "state.safetensors").exists()
        if not left[0]:
            (run / "failed").write_text(str(time.time()))
            next(model.parameters()).register_hook(fail)  # type: ignore[no-untyped-call]
        return sum_gradients(model, share, loss)

    collectives.sum_gradients = counting


def count_exchange(out: Path) -> None:
    """Count the bytes that this process gives to collective operations while it trains, and write them per update."""
    import torch.distributed as dist

    from datapruning.training.trainer import Trainer

    counts: Counter[str] = Counter()
    first_tensor = {"all_reduce": 0, "broadcast": 0, "all_gather": 1, "gather": 0}
    for name, position in first_tensor.items():
        setattr(dist, name, counted(counts, name, getattr(dist, name), position))
    fit = Trainer.fit

    def fit_and_write(self: Trainer, *arguments: Any, **options: Any) -> Any:
        counts.clear()
        state = fit(self, *arguments, **options)
        per_update = {name: round(value / state.updates, 1) for name, value in counts.items()}
        write_json(out.with_name(f"{out.name}-exchange.json"), per_update)  # process 0 writes
        return state

    Trainer.fit = fit_and_write  # type: ignore[method-assign]


def counted(counts: Counter[str], name: str, function: Any, position: int) -> Any:
    """Return a collective operation that adds its calls and bytes to `counts`."""

    def call(*arguments: Any, **options: Any) -> Any:
        tensor = arguments[position]
        counts[f"{name}, bytes"] += tensor.numel() * tensor.element_size()
        counts[f"{name}, calls"] += 1
        return function(*arguments, **options)

    return call


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


def statistics_of_checkpoint(context: Any, run: Path) -> dict[str, NDArray[Any]]:
    """Return statistics and features of every training sample from a finished network."""
    from datapruning.evidence.gradient_norms import gradient_norms
    from datapruning.evidence.sample_stats import statistics as statistics_of
    from datapruning.io.tensors import load_tensors
    from datapruning.training.checkpoint import load_weights
    from datapruning.training.evaluate import predict_with_features
    from datapruning.training.reproducibility import reproducible

    model = context.new_model(context.recipe.teacher.model, 0)
    load_weights(model, load_tensors(run / "model.safetensors")[0], run)
    batches: dict[str, list[NDArray[Any]]] = {name: [] for name in (*STATISTICS, "features")}
    with reproducible(1):
        parts = predict_with_features(model, context.loader("train"), np.arange(SAMPLES), context.views)
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
        done(processes, "--do", "statistics", "--folder", folder, "--out", folder / f"statistics-{processes}.npz")
    with np.load(folder / "statistics-1.npz") as one, np.load(folder / f"statistics-{PROCESSES}.npz") as two:
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


def fail_and_resume(folder: Path, faults: int) -> list[dict[str, Any]]:
    """Run with processes that are killed or run out of memory, one row per fault; each run ends before the next starts."""
    reference = folder / "whole"
    shutil.rmtree(reference, ignore_errors=True)
    done(PROCESSES, "--do", "saving", "--folder", folder, "--out", reference)
    seconds = read_json(reference / "result.json")["seconds"]["train"]
    rows: list[dict[str, Any]] = []
    rng = random.Random(0)
    while len(rows) < faults:
        out, rank, fault = folder / f"failed-{len(rows)}", len(rows) % PROCESSES, ("kill", "memory")[len(rows) // 2 % 2]
        shutil.rmtree(out, ignore_errors=True)
        options = ("--folder", folder, "--out", out)
        process = begin(PROCESSES, "--do", "memory" if fault == "memory" else "saving", "--rank", rank, *options)
        failed = kill(process, rank, out, rng.uniform(0.2, 0.9) * seconds) if fault == "kill" else None
        _, errors = process.communicate(timeout=LIMIT)
        over = time.time()
        if (out / "result.json").exists():
            continue  # it was faster this time
        if fault == "memory":
            failed = float((out / "failed").read_text())
        assert failed is not None
        assert process.returncode, "torchrun says that a process failed"
        done(PROCESSES, "--do", "saving", *options)
        bits = (out / "model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()
        message_lines = [line for line in errors.splitlines() if line.startswith("dprune: ")]
        rows.append(
            {"fault": fault, "rank": rank, "ended": round(over - failed, 1), "same_bits": bits, "messages": message_lines}
        )
        info(f"{fault} of process {rank}: over in {over - failed:.1f} s, same bits at the end: {bits}; {message_lines}")
    return rows


def kill(process: subprocess.Popen[str], rank: int, run: Path, seconds: float) -> float | None:
    """Kill the process of a rank so many seconds after its training began; returns when. None: it had ended."""
    while not (run / "config.toml").exists():
        time.sleep(0.05)
    time.sleep(seconds)
    victim = child(process.pid, rank)
    if victim is None:
        return None
    os.kill(victim, signal.SIGKILL)
    return time.time()


def exchange(folder: Path) -> dict[str, Any]:
    """Bytes per update that process 0 gives to collective operations: counted, and those of the former design."""
    return {"now": read_json(folder / "together-0-exchange.json"), "former": FORMER}


def scaling() -> list[list[str]]:
    """Rows for `GPUS` GPUs by calculation: nothing overlaps; a ring all-reduce moves 2 (W - 1) / W of the bytes per GPU."""
    moved, rows = RESNET18_NUMBERS * 4 * 2 * (GPUS - 1) / GPUS, []
    for how, rate in GPU_RATES.items():
        for link, bandwidth in (("NVLink", NVLINK_BYTES), ("100 Gb/s", NETWORK_BYTES)):
            step, exchanged = GPU_BATCH / rate, moved / bandwidth
            former = f"{step / (max(step / GPUS, HOST_SECONDS) + exchanged):.2f}" if how == "eager" else "none"
            speedup = GPUS * step / (step + exchanged)
            rows.append([how, link, f"{1000 * exchanged:.2f} ms", f"{speedup:.2f}", f"{speedup * rate:,.0f}", former])
    return rows


def main() -> None:
    """Run all parts, or the one that `begin` named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--faults", type=int, default=4)
    parser.add_argument("--rank", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--do", choices=("teach", "count", "saving", "memory", "statistics"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.do:
        sys.exit(take_part(args.do, args.folder, args.out, args.seed, args.rank))
    folder = RUNS / "ddp"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data.npz").exists():
        write_data(folder / "data.npz")
    runs, counts = compare_runs(folder, args.seeds), seen(folder)
    scores, faults = compare_scores(folder), fail_and_resume(folder, args.faults)
    show(runs, counts, scores, exchange(folder), faults)


def times(counts: Sequence[int]) -> str:
    """Format minimum and maximum."""
    low, high = counts
    return f"{low} times" if low == high else f"{low} to {high} times"


def exchange_rows(exchanged: dict[str, Any]) -> list[list[str]]:
    """Rows of what is exchanged now, and was in the former design."""
    now, former = exchanged["now"], exchanged["former"]
    rows = [[name, f"{value:,.1f}"] for name, value in sorted(now.items())]
    rows.append(["**all, bytes**", f"{sum(value for name, value in now.items() if name.endswith('bytes')):,.0f}"])
    return [*rows, *([f"former: {name}, bytes", f"{value:,}"] for name, value in former.items()),
            ["**former, all, bytes**", f"{sum(former.values()):,}"]]  # fmt: skip


def show(
    runs: list[dict[str, Any]],
    counts: dict[str, Any],
    scores: dict[str, float],
    exchanged: dict[str, Any],
    faults: list[dict[str, Any]],
) -> None:
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

## What processes exchange

Bytes that process 0 gives to collective operations per update, evaluation passes left out; the all-reduce has the gradients of all {FORMER["all-reduce"] // 4:,} weights, the running statistics of batch norms and the loss, in float32.

{table(["", "per update"], exchange_rows(exchanged))}

By calculation for ResNet-18 on {GPUS} GPUs, {GPU_BATCH} images of 32x32 each, from the rates of one GPU, if nothing overlaps; the former design split a batch of {GPU_BATCH} over the GPUs:

{table(["a step", "link", "exchange", f"{GPUS} GPUs against 1", "images/s", "former design"], scaling())}

## A process that fails

SIGKILL to one of {PROCESSES} processes at a random moment, or out of memory in its backward pass; then the same command again. A checkpoint at most every {CHECKPOINT_SECONDS:g} s.

{table(["fault", "process", "all had ended after", "message", "bits at the end as of an uninterrupted run"], [[f["fault"], str(f["rank"]), f"{f['ended']:.1f} s", " ".join(f["messages"])[:120], "yes" if f["same_bits"] else "**no**"] for f in faults])}"""  # noqa: E501
    publish(
        "ddp", "Two processes against one", "python -m benchmarks.ddp", body,
        {"runs": runs, "seen": counts, "scores": scores, "exchange": exchanged, "faults": faults},
    )  # fmt: skip


if __name__ == "__main__":
    main()
