"""One GPU in a quarter of an hour: training steps with and without CUDA graphs, then whole commands on CIFAR-100.

    python -m benchmarks.gpu speed [--seconds 560] [--out FOLDER] [--toy]
    DPRUNE_DATA=... python -m benchmarks.gpu data [--seconds 560] [--out FOLDER] [--graph] [--toy]
    DPRUNE_DATA=... python -m benchmarks.gpu epsd [--seconds 560] [--out FOLDER] [--toy]
    python -m benchmarks.gpu report

`speed` needs no data: images a second of ResNet-18 on images of 32x32 in bf16, against the fastest bare loop; whether steps
as CUDA graphs give the weights of ordinary steps; waits of the host; seconds of a mask; one NCCL process. `data` trains on
`$DPRUNE_DATA/cifar100.npz` (rows of `benchmarks.gpu_students`, the fast recipe, scores, members of an ensemble); `epsd`
trains ResNet-18 there with 95% of its weights removed. The most important rows come first, and each is written to
`FOLDER/gpu.rows.jsonl` when it is made; a row that would not end in time is left out. `--toy`
makes the same rows on a CPU with a tiny network. `scripts/gpu.sh` prepares what a machine without network needs. `report`
writes the table from the committed rows.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

import datapruning as dp
from benchmarks.committed import CommittedRows
from benchmarks.common import RESULTS, data_folder, machine, publish, table
from datapruning.data.dataset import Dataset, Split
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.sample_stats import SampleStats
from datapruning.runs.context import Context
from datapruning.training.callbacks import Callback
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distributed.collectives import sum_gradients
from datapruning.training.losses import CrossEntropy, DistillationLoss
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_steps
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.sparsity.prune import prune_at_init
from datapruning.training.trainer import Trainer
from datapruning.utils.console import info

CLASSES, EPOCHS = 100, 4
STEPS = {512: 96, 128: 192}
"""Steps of an epoch, by the size of a batch."""
EQUAL = (64, 16)
"""The size of a batch and steps of an epoch, where weights are compared."""
SETTINGS = {"plain": (), "EMA": ("train.ema=0.999",), "InfoBatch": ("train.infobatch=0.5",)}
"""Settings of the modes that have any."""
MODES = ("plain", "KD", "recording", "masks", "EMA")
SPEED = [
    *({"row": "speed", "batch": batch, "mode": mode, "steps": steps} for batch, mode, steps in (
        (512, "bare loop", "compiled, graph"), (512, "plain", "graph"), (512, "plain", "compiled, graph"),
        (512, "plain", "eager"),
    )),
    *({"row": "equal", "mode": mode} for mode in ("plain", "KD", "EMA")),
    *({"row": "speed", "batch": 128, "mode": mode, "steps": steps} for mode, steps in (
        ("bare loop", "compiled, graph"), ("plain", "compiled, graph"), ("plain", "graph"), ("plain", "eager"),
    )),
    *({"row": "speed", "batch": batch, "mode": mode, "steps": "compiled, graph"} for batch in STEPS for mode in MODES[1:]),
    *({"row": "waits", "steps": steps} for steps in ("eager", "graph")),
    *({"row": "mask", "criterion": criterion} for criterion in ("synflow", "epsd", "snip")),
    {"row": "nccl"},
    *({"row": "equal", "mode": mode} for mode in ("masks", "InfoBatch", "recording", "muon", "adamw")),
    *({"row": "speed", "batch": batch, "mode": mode, "steps": steps} for batch in STEPS for mode, steps in (
        ("KD", "eager"), ("recording", "eager"), ("EMA", "eager"), ("bare loop", "eager"), ("plain", "compiled"),
    )),
]  # fmt: skip
STUDENTS = ((1.0, 6_000_000, 0), (0.1, 1_000_000, "auto"), (0.1, 3_000_000, "auto"), (0.3, 3_000_000, "auto"))
"""Fraction, samples seen and KD weight of rows of `benchmarks.gpu_students`; the first one is the teacher."""
DATA = [
    *({"row": "student", "fraction": fraction, "samples": samples, "kd_weight": weight}
      for fraction, samples, weight in STUDENTS[:2]),
    {"row": "fast recipe"},
    {"row": "scores", "scorers": "el2n,forgetting,aum"},
    *({"row": "student", "fraction": fraction, "samples": samples, "kd_weight": weight}
      for fraction, samples, weight in STUDENTS[2:]),
    {"row": "members", "count": 8},
]  # fmt: skip
SPARSE_SAMPLES = 1_500_000
EPSD = [
    {"row": "sparse", "criterion": criterion, "method": method} for criterion, method in (
        ("none", "none"), ("epsd", "cs-kd"), ("snip", "cs-kd"), ("synflow", "none"), ("synflow", "cs-kd"), ("none", "cs-kd"),
    )
]  # fmt: skip
"""Students with 95% of the weights removed by a criterion, or dense ones, trained with a method of self-distillation."""
PARTS = {"speed": SPEED, "data": DATA, "epsd": EPSD}
PLANNED_SECONDS = {
    "speed": 45, "equal": 25, "waits": 20, "mask": 30, "nccl": 15, "student": 130, "members": 60, "sparse": 120,
}  # fmt: skip
"""What a row may take; a row is begun if so much time is left."""
COMMAND = "bash scripts/gpu.sh"


class TeacherLogits:
    """Soft labels of a made-up teacher: a table on the host."""

    def __init__(self, total: int) -> None:
        self._logits = np.random.default_rng(0).standard_normal((total, CLASSES)).astype(np.float16)

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        return torch.from_numpy(self._logits[key[0]].astype(np.float32))[None]


class Bench:
    """The rows of one call: on a GPU, or as a toy on the CPU."""

    def __init__(self, workspace: Path, *, toy: bool, graph: bool) -> None:
        self.workspace, self.toy, self.graph = workspace, toy, graph
        self.device, self.network = ("cpu", "tinynet8") if toy else ("cuda", "resnet18")

    def run(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a row."""
        rows: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "speed": self.speed, "equal": self.equal, "waits": self.waits, "mask": self.mask, "nccl": self.nccl,
            "student": self.student, "fast recipe": self.fast_recipe, "scores": self.scores, "members": self.members,
            "sparse": self.sparse,
        }  # fmt: skip
        return rows[config["row"]](config)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if not self.toy:
            torch.cuda.synchronize()

    def context(self, batch: int, steps: int, *changes: str) -> Context:
        """A context on made-up images; their content does not affect the cost."""
        rng, total = np.random.default_rng(0), batch * steps
        train, test = (
            Split(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % CLASSES)
            for count in (total, 500)
        )
        data = Dataset("made-up", train, test, tuple(map(str, range(CLASSES))))
        settings = [f"{name}.model={self.network}" for name in ("train", "teacher", "proxy", "ensemble_member")]
        settings += [f"train.batch_size={batch}", f"train.epochs={EPOCHS}", "train.precision=bf16", *changes]
        return dp.open_context(
            data,
            recipe="cifar100",
            changes=settings,
            device=self.device,
            loader="memory",
            workspace=self.workspace,
            threads=1,
        )

    def train(self, context: Context, mode: str, callbacks: tuple[Callback, ...] = ()) -> Trainer:
        """Train a new network; the trainer has its state."""
        data, training = context.data, context.recipe.train
        model, ids = context.new_model(self.network, 0), np.arange(data.total)
        loss = DistillationLoss(TeacherLogits(data.total), 0.5, 4.0) if mode == "KD" else CrossEntropy()
        masks = half_of(model) if mode == "masks" else None
        with tempfile.TemporaryDirectory(dir=self.workspace) as folder, reproducible(1, training):
            if mode == "recording":
                changes = PredictionChange(Path(folder) / "changes", data.total)
                callbacks += (Recorder(SampleStats(Path(folder) / "stats", training.epochs, data.total), changes),)
            trainer = Trainer(
                model, context.loader("train"), ids, context.views, training, loss, seed=0, masks=masks,
                num_steps=planned_steps(training, len(ids), len(ids)), description=mode, callbacks=callbacks,
            )  # fmt: skip
            trainer.fit(Checkpoint(Path(folder) / "state.safetensors"))
        self.synchronize()
        return trainer

    def speed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Images a second, of the median epoch after the first one."""
        batch, steps = config["batch"], 4 if self.toy else STEPS[config["batch"]]
        if config["mode"] == "bare loop":
            return self.bare_loop(batch, steps, compiled="compiled" in config["steps"])
        context = self.context(batch, steps, *SETTINGS.get(config["mode"], ()), *self.step_settings(config["steps"]))
        history = self.train(context, config["mode"]).state.history
        seconds = statistics.median(epoch.seconds for epoch in history[1:])
        return {"images_per_second": round(batch * steps / seconds), "milliseconds": round(1000 * seconds / steps, 3)}

    def step_settings(self, steps: str) -> list[str]:
        """The settings of "eager", "graph", "compiled" or "compiled, graph" steps."""
        compiled = "compiled" in steps and not self.toy  # a minute on a CPU
        return [f"train.{key}=true" for key, on in (("compile", compiled), ("graph", "graph" in steps)) if on]

    def bare_loop(self, batch: int, steps: int, *, compiled: bool) -> dict[str, Any]:
        """The network alone on one ready batch: nothing is read, augmented, counted or recorded."""
        context = self.context(batch, 2)
        model = context.new_model(self.network, 0)
        network = torch.compile(model) if compiled and not self.toy else model
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True, fused=True)
        images = torch.randn(batch, 3, 32, 32, device=self.device).to(memory_format=torch.channels_last)
        labels = torch.arange(batch, device=self.device) % CLASSES

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device, torch.bfloat16):
                logits = network(images)
            nn.functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        with reproducible(1, context.recipe.train):  # deterministic as ours, and cuDNN chooses as for ours
            run = step if self.toy or not compiled else captured(step)
            for _ in range(5):
                run()
            self.synchronize()
            started = time.perf_counter()
            for _ in range(steps * 2):
                run()
            self.synchronize()
        seconds = (time.perf_counter() - started) / 2
        return {"images_per_second": round(batch * steps / seconds), "milliseconds": round(1000 * seconds / steps, 3)}

    def equal(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Whether eager steps, the same once more, and steps as graphs end with the same weights."""
        mode = config["mode"]
        optimizer = {"muon": ("train.optimizer=muon",), "adamw": ("train.optimizer=adamw", "train.lr=0.003")}
        settings = (*SETTINGS.get(mode, ()), *optimizer.get(mode, ()), "train.epochs=2")
        weights = []
        for steps in ("eager", "eager", "graph"):
            context = self.context(*EQUAL, *settings, *self.step_settings(steps))
            trainer = self.train(context, mode)
            weights.append([value.double().cpu() for value in trainer.model.state_dict().values()])
        pairs = {"again": (weights[0], weights[1]), "graph": (weights[0], weights[2])}
        return {
            name: {"same_bits": all(torch.equal(a, b) for a, b in zip(*pair, strict=True)),
                   "largest_difference": max(float((a - b).abs().max()) for a, b in zip(*pair, strict=True))}
            for name, pair in pairs.items()
        }  # fmt: skip

    def waits(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """How often torch says that the host waited for the GPU, in the steps of an epoch after the first one."""
        if self.toy:
            return {"waits": 0}
        watch = WatchWaits()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self.train(self.context(128, 24, *self.step_settings(config["steps"])), "plain", (watch,))
            finally:
                torch.cuda.set_sync_debug_mode("default")
        lines = [str(warning.message) for warning in caught if "synchronizing" in str(warning.message)]
        return {"waits": len(lines), "first": lines[:1]}

    def mask(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds of a pruning stage."""
        context = self.context(128, 4).with_sparsity(0.95, config["criterion"])
        context = context.with_settings("self_distill", method="tf-kd")
        ids, model = np.arange(context.data.total), context.new_model(self.network, 0)
        if self.toy:
            context = context.with_settings("sparsity", rounds=2)
        with reproducible(1, context.recipe.train):
            result = prune_at_init(context, model, ids, CrossEntropy(), 0)
        return {"seconds": result.cost.seconds, "rounds": result.record.rounds, "weights": result.record.total}

    def nccl(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Milliseconds in which one process sums its gradients with itself."""
        model = self.context(128, 2).new_model(self.network, 0)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
        try:
            loss = torch.zeros((), device=self.device)
            for number in range(22):
                if number == 2:
                    self.synchronize()
                    started = time.perf_counter()
                sum_gradients(model, 1.0, loss)
            self.synchronize()
            return {"milliseconds": round(1000 * (time.perf_counter() - started) / 20, 3)}
        finally:
            dist.destroy_process_group()

    def student(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A row of `benchmarks.gpu_students`."""
        from benchmarks.gpu_students import run_row

        return run_row({**config, "fraction": f"{config['fraction']:g}"}, self.workspace, toy=self.toy, graph=self.graph)

    def cifar100(self, recipe: str, *changes: str) -> Context:
        """CIFAR-100, with small networks and few epochs as a toy."""
        data = dp.open_dataset(str(data_folder() / "cifar100.npz"))
        toy = [f"{name}.model=tinynet8" for name in ("train", "teacher", "proxy", "ensemble_member")]
        toy += ["train.optimizer=sgd", "train.samples=2000", "proxy.epochs=1", "ensemble_member.epochs=1"]
        graph = [f"{name}.graph=true" for name in ("train", "teacher", "proxy", "ensemble_member")] if self.graph else []
        return dp.open_context(
            data, recipe=recipe, device=self.device, loader="memory", workspace=self.workspace, threads=1,
            changes=[*(toy if self.toy else ()), *graph, *changes],
        )  # fmt: skip

    def fast_recipe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds and accuracy of the fast recipe on all samples, by labels alone."""
        context = self.cifar100("cifar100-fast")
        result = dp.train(context, fraction=1, kd_weight=0, samples=2000 if self.toy else None).result
        seconds = result.seconds.train
        return {"seconds": seconds, "test_accuracy": result.test_accuracy, "samples_seen": result.samples_seen}

    def sparse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Accuracy and seconds of a student that is pruned at its start, or of a dense one."""
        from benchmarks.gpu_students import SETTINGS as STUDENT_SETTINGS

        context = self.cifar100("cifar100", *STUDENT_SETTINGS, f"self_distill.method={config['method']}")
        if config["criterion"] != "none":
            context = context.with_sparsity(0.95, criterion=config["criterion"])
        result = dp.train(context, fraction=1, kd_weight=0, samples=2000 if self.toy else SPARSE_SAMPLES).result
        row = {"test_accuracy": result.test_accuracy, "samples_seen": result.samples_seen, "train": result.seconds.train}
        return row | ({"kept": result.sparsity.kept, "prune": result.costs.prune.seconds} if result.sparsity else {})

    def scores(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds of several scores, whose evidence is shared."""
        context = self.cifar100("cifar100", "evidence.runs=1", *(("evidence.early_epoch=1",) if self.toy else ()))
        started = time.perf_counter()
        for scorer in config["scorers"].split(","):
            dp.score(context, scorer)
        return {"seconds": round(time.perf_counter() - started, 1), "epochs": context.recipe.proxy.epochs}

    def members(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Members of a subset ensemble a minute."""
        context = self.cifar100("cifar100", f"ensemble.num_members={config['count']}")
        started = time.perf_counter()
        dp.score(context, "memorization")
        seconds = time.perf_counter() - started
        return {"per_minute": round(60 * config["count"] / seconds, 2), "epochs": context.recipe.ensemble_member.epochs}


class WatchWaits(Callback):
    """Lets torch warn where the host waits, in the steps of the second epoch."""

    def on_step_end(self, epoch: int, model: nn.Module) -> None:
        """Begin after the first step of the epoch."""
        if epoch == 1:
            torch.cuda.set_sync_debug_mode("warn")

    def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
        """Stop."""
        torch.cuda.set_sync_debug_mode("default")


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def half_of(model: nn.Module) -> Masks:
    """Masks that keep about half of the weights."""
    rng = np.random.default_rng(0)
    return Masks({name: rng.random(tuple(weight.shape)) < 0.5 for name, weight in prunable(model).items()})


def run_rows(configs: list[dict[str, Any]], bench: Bench, rows: CommittedRows, seconds: float) -> None:
    """Make the rows that are missing, in order, while there is time; one that fails is written with its error."""
    ends, made = time.monotonic() + seconds, rows.read()
    done = [row["config"] for row in made.values()]
    for config in configs:
        if config in done:
            continue
        left = ends - time.monotonic()
        if left < PLANNED_SECONDS.get(config["row"], 90) and not bench.toy:
            info(f"no time for {json.dumps(config)}: {left:.0f} s are left")
            continue
        started = time.monotonic()
        try:
            result = bench.run(config)
        except Exception as error:
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"[:500]}
        took = round(time.monotonic() - started, 1)
        device = machine()["gpu"] or machine()["cpu"]
        rows.append({"config": config, "result": result, "seconds": took, "device": device, "graph": bench.graph})
        info(f"{json.dumps(config)}: {json.dumps(result)} ({took} s)")


def report() -> None:
    """Write the table from the committed rows."""
    rows = list(CommittedRows("gpu").read().values())
    fastest = {
        batch: max((row["result"].get("images_per_second", 0) for row in rows if row["config"].get("batch") == batch
                    and row["config"]["mode"] == "bare loop"), default=0)
        for batch in STEPS
    }  # fmt: skip
    lines = []
    for row in rows:
        config, result = dict(row["config"]), row["result"]
        name, speed = config.pop("row"), result.get("images_per_second")
        share = f"{speed / fastest[config['batch']]:.3f}" if speed and fastest.get(config.get("batch", 0)) else ""
        described = ", ".join(f"{key} {value}" for key, value in config.items())
        measured = f"{speed:,} images/s" if speed else json.dumps(result)[:200]
        lines.append([name, described, measured, share, f"{row['seconds']:.0f}", row["device"]])
    head = ["row", "what", "measured", "of the fastest bare loop", "seconds", "device"]
    publish("gpu", "One GPU, measured", COMMAND, table(head, lines), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "report"])
    parser.add_argument("--seconds", type=float, default=560.0, help="time for all rows of this call")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu.rows.jsonl")
    parser.add_argument("--graph", action="store_true", help="trainings of `data` run their steps as CUDA graphs")
    parser.add_argument("--toy", action="store_true", help="the same rows on a CPU with a tiny network")
    args = parser.parse_args()
    if args.part == "report":
        return report()
    if args.toy and args.out == RESULTS:
        parser.error("a toy's rows are not committed: name a folder with --out")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as workspace:
        bench = Bench(Path(workspace), toy=args.toy, graph=args.graph)
        run_rows(PARTS[args.part], bench, CommittedRows("gpu", args.out), args.seconds)


if __name__ == "__main__":
    main()
