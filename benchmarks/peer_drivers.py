"""One scoring method in a separate process: a peer's released code from its folder, or `datapruning`.

    python -m benchmarks.peer_drivers TASK.json    (what `benchmarks.peer_scores` starts)

A peer runs as it is. What it is given from outside are the shims below, for a machine without a GPU and for data in an
`.npz`; none of them does work for a sample or an update.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
import json
import os
import pickle
import resource
import runpy
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GIVEN = "GivenNetwork"
AS_RELEASED = -1
LR = 0.1
SHIMS = (
    "torchvision's class CIFAR100 takes its arrays from the .npz; its items are made as ever",
    "where the network is ours, the peer's table of networks has it under a further name (the same factory and memory "
    "layout on both sides); ResNet-18 is each side's own",
    "`Tensor.cuda()` leaves a tensor on the CPU (CCS)",
    "an empty module `requests`, where it is not installed (DeepCore's Tiny-ImageNet download)",
)


@dataclass(frozen=True)
class Case:
    """One training run to score from: the `.npz`, a network of `datapruning.models`, epochs and batch size."""

    data: str
    network: str
    epochs: int
    batch_size: int


@dataclass(frozen=True)
class Task:
    """The task of a process.

    Attributes:
        side: "ours", "deepcore", "ccs" (its parts), "ccs-train" or "ccs-score" (its two scripts), or "network".
        folder: where it may write; the answer is `answer.json` there.
        core: the one core that the process, its threads and its children run on.
        cases: one after the other. The first counts as start-up (imports, compilation), unless `side` is a script.
        workers: of the peer's DataLoader; -1: as released.
        scorer, loader, augment: of ours; `augment` flips, and crops after padding by 4. A peer does what it does.
    """

    side: str
    folder: str
    core: int
    cases: tuple[Case, ...]
    workers: int = 0
    scorer: str = ""
    loader: str = ""
    augment: bool = False


class Clock:
    """Wall and CPU seconds of parts; CPU time includes threads and ended workers."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}
        self._last = time.perf_counter(), cpu_seconds()

    def mark(self, part: str) -> None:
        """Attribute the time since the last mark to `part`."""
        now = time.perf_counter(), cpu_seconds()
        self.parts[part] = {"wall": now[0] - self._last[0], "cpu": now[1] - self._last[1]}
        self._last = now


Answer = tuple[NDArray[Any], dict[str, Any]]
Side = Callable[[Task, Case, Path, Clock], Answer]


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def ours(task: Task, case: Case, folder: Path, clock: Clock) -> Answer:
    """Score through the Python functions, with freed memory kept, like `dprune score`."""
    import datapruning as dp
    from datapruning.utils.malloc import keep_freed_memory

    keep_freed_memory()
    data = dp.open_dataset(case.data)
    changes = {
        "proxy.model": case.network, "proxy.epochs": case.epochs, "proxy.batch_size": case.batch_size, "proxy.lr": LR,
        "proxy.schedule": "cosine", "proxy.warmup": 0.0, "evidence.runs": 1, "evidence.full_runs": 1,
        "evidence.early_epoch": min(10, case.epochs), "views.flip": str(task.augment).lower(),
        "views.crop": 4 * task.augment,
    }  # fmt: skip
    context = dp.open_context(
        data, recipe="cifar100", changes=[f"{key}={value}" for key, value in changes.items()], device="cpu",
        loader=task.loader, workspace=folder, threads=1,
    )  # fmt: skip
    clock.mark("open data")
    if task.loader == "ffcv":
        dp.cache(context)
        clock.mark("write cache")
    scores = dp.score(context, task.scorer)
    clock.mark("scores")
    values = scores.values
    if task.scorer == "forgetting":  # never learned: here as DeepCore counts it
        values = np.where(values == case.epochs, 0, values)
    assert scores.meta.costs is not None, "the evidence of these scorers is trained"
    return values, {"costs": dataclasses.asdict(scores.meta.costs)}


def network_alone(task: Task, case: Case, folder: Path, clock: Clock) -> Answer:
    """Train the same number of steps on a single batch: a lower bound for any method with the same memory layout."""
    import torch

    from datapruning.utils.malloc import keep_freed_memory

    keep_freed_memory()
    with np.load(case.data) as arrays:
        count = len(arrays["train_labels"])
    model = given_network(case)
    images = torch.randn(case.batch_size, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.arange(case.batch_size) % 100
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True)
    clock.mark("open data")
    for _ in range(case.epochs * count // case.batch_size):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    clock.mark("scores")
    return np.zeros(1), {}


def give_data(path: str) -> None:
    """The CIFAR100 class of torchvision with the arrays of an `.npz`; items are made by its own code."""
    import torchvision

    class FromNpz(torchvision.datasets.CIFAR100):  # type: ignore[misc]
        def __init__(self, root: str, train: bool = True, transform: Any = None, **_: Any) -> None:
            torchvision.datasets.VisionDataset.__init__(self, root, transform=transform)
            role = "train" if train else "test"
            with np.load(path) as arrays:
                self.data, self.targets = arrays[f"{role}_images"], arrays[f"{role}_labels"].tolist()
                self.classes = arrays["class_names"].tolist()

    torchvision.datasets.CIFAR100 = FromNpz


def own_network(case: Case) -> bool:
    """Whether the peer trains its own network, which is the same as ours."""
    return case.network == "resnet18"


def given_network(case: Case) -> Any:
    """Make the network that both sides train, for 32x32 RGB images of 100 classes."""
    from datapruning.models import create_model

    return create_model(case.network, (32, 32, 3), 100, seed=0)


def deepcore(task: Task, case: Case, folder: Path, clock: Clock) -> Answer:
    """Run DeepCore's `Forgetting` as its main.py does, on images without augmentation."""
    if "requests" not in sys.modules and importlib.util.find_spec("requests") is None:
        sys.modules["requests"] = types.ModuleType("requests")
    from deepcore import datasets, methods, nets  # type: ignore[import-not-found]

    nets.__dict__[GIVEN] = lambda *_, **__: given_network(case)
    give_data(case.data)
    channel, im_size, classes, names, _, _, train, _ = datasets.__dict__["CIFAR100"](str(folder))
    args = argparse.Namespace(
        device="cpu", gpu=None, model="ResNet18" if own_network(case) else GIVEN, channel=channel, im_size=im_size,
        num_classes=classes, class_names=names, workers=4 if task.workers == AS_RELEASED else task.workers, print_freq=20,
        selection_batch=case.batch_size, selection_optimizer="SGD", selection_lr=LR, selection_momentum=0.9,
        selection_weight_decay=5e-4, selection_nesterov=True, selection_test_interval=1, selection_test_fraction=1.0,
    )  # fmt: skip
    clock.mark("open data")
    method = methods.__dict__["Forgetting"](train, args, 0.1, 0, epochs=case.epochs, balance=True)
    values = method.select()["scores"].numpy()
    clock.mark("scores")
    return values, {}


def functions_of(script: Path, **known: Any) -> dict[str, Any]:
    """Load the imports and functions of a script without running the rest of it."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)]
    namespace = dict(known)
    exec(compile(tree, str(script), "exec"), namespace)
    return namespace


def stay_on_cpu() -> None:
    """Make `Tensor.cuda()` return the tensor itself."""
    import torch

    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]


def ccs(task: Task, case: Case, folder: Path, clock: Clock) -> Answer:
    """Run the parts of CCS that EL2N needs: trainer, logger, pickle, `EL2N`, without evaluation and other scores."""
    import torch
    from core.data import CIFARDataset, IndexDataset  # type: ignore[import-not-found]
    from core.model_generator import resnet  # type: ignore[import-not-found]
    from core.training import Trainer, TrainingDynamicsLogger  # type: ignore[import-not-found]
    from torchvision import transforms

    stay_on_cpu()
    script = functions_of(Path("generate_importance_score.py"), num_classes=100)
    give_data(case.data)
    train = IndexDataset(CIFARDataset.get_cifar100_train(str(folder)))
    clock.mark("open data")
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(train, batch_size=case.batch_size, shuffle=True, num_workers=task.workers)
    model = resnet("resnet18", num_classes=100, device="cpu") if own_network(case) else given_network(case)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(loader) * case.epochs, eta_min=1e-4)
    trainer, logger, criterion = Trainer(), TrainingDynamicsLogger(), torch.nn.CrossEntropyLoss()
    for epoch in range(case.epochs):
        trainer.train(
            epoch, -1, model, loader, optimizer, criterion, schedule, "cpu", TD_logger=logger, log_interval=60, printlog=True
        )
    logger.save_training_dynamics(folder / "dynamics.pickle", data_name="cifar100")
    with (folder / "dynamics.pickle").open("rb") as file:
        dynamics = pickle.load(file)["training_dynamics"]
    plain = CIFARDataset.get_cifar100_train(str(folder), transform=transforms.Compose([transforms.ToTensor()]))
    values: dict[str, Any] = {}
    script["EL2N"](dynamics, IndexDataset(plain), values, max_epoch=10)
    clock.mark("scores")
    return values["el2n"].numpy(), {}


def ccs_script(task: Task, case: Case, folder: Path, clock: Clock) -> Answer:
    """Run one of CCS's scripts: train.py also tests and saves, generate_importance_score.py computes all its scores."""
    import core.model_generator  # type: ignore[import-not-found]

    stay_on_cpu()
    give_data(case.data)
    if not own_network(case):
        core.model_generator.resnet = lambda *_, **__: given_network(case)
    words = ["--dataset", "cifar100", "--batch-size", case.batch_size, "--base-dir", folder, "--task-name", "all"]
    name = {"ccs-train": "train.py", "ccs-score": "generate_importance_score.py"}[task.side]
    if name == "train.py":
        words += ["--epochs", case.epochs, "--lr", LR]
    sys.argv = [name, *map(str, words)]
    runpy.run_path(name, run_name="__main__")
    if name == "train.py":
        return np.zeros(1), {}
    with (folder / "all" / "data-score-all.pickle").open("rb") as file:
        return pickle.load(file)["el2n"].numpy(), {}


SIDES: dict[str, Side] = {
    "ours": ours, "deepcore": deepcore, "ccs": ccs, "ccs-train": ccs_script, "ccs-score": ccs_script,
    "network": network_alone,
}  # fmt: skip


def main() -> None:
    words = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    task = Task(**{**words, "cases": tuple(Case(**case) for case in words["cases"])})
    os.sched_setaffinity(0, {task.core})
    answers = []
    for number, case in enumerate(task.cases):
        folder = Path(task.folder, f"case-{number}")
        folder.mkdir(exist_ok=True)  # CCS's second script finds what the first left
        clock = Clock()
        values, more = SIDES[task.side](task, case, folder, clock)
        answers.append({"parts": clock.parts, "mean": float(np.mean(values)), **more})
    Path(task.folder, "answer.json").write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
