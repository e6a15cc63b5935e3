"""Training dynamics: several runs of a proxy on the full data, what they made of every sample, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datapruning.config import Evidence, Training
from datapruning.costs import Cost
from datapruning.data.loader import Loader
from datapruning.data.views import Views
from datapruning.errors import BadValue
from datapruning.evidence.recorder import Recorder, RecordTraining
from datapruning.evidence.track import Track
from datapruning.files import read_json, write_json
from datapruning.locks import held
from datapruning.progress import say
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.evaluate import predict
from datapruning.training.loop import Observer, fit, planned_steps
from datapruning.training.objectives import CrossEntropy

DONE = "done.json"


@dataclass(frozen=True)
class TrainingDynamics:
    """Recorded runs.

    Attributes:
        presentations: of each run that trained to the end, a track [epochs, N] of the training pass (augmented views,
            training mode).
        early: of every run, a track [1, N] of one evaluation pass without augmentation after `early_epoch` epochs.
        early_epoch: see `early`.
        cost: of all runs.
    """

    presentations: tuple[Track, ...]
    early: tuple[Track, ...]
    early_epoch: int
    cost: Cost = field(default_factory=Cost)

    def early_statistic(self, name: str) -> NDArray[Any]:
        """A statistic at the early checkpoint, [runs, N]."""
        return np.stack([track[name][0] for track in self.early])


class _RecordEarly(Observer):
    """One evaluation pass over all samples, without augmentation, when `early_epoch` epochs are done."""

    def __init__(self, recorder: Recorder, early_epoch: int, loader: Loader, views: Views) -> None:
        self.recorder, self.early_epoch, self.loader, self.views = recorder, early_epoch, loader, views

    def end_epoch(self, epoch: int, model: nn.Module) -> None:
        if epoch + 1 != self.early_epoch:
            return
        self.recorder.begin(0)
        for ids, labels, logits in predict(model, self.loader, np.arange(len(self.loader)), self.views):
            self.recorder.update(logits, labels, ids)
        self.recorder.end()


def record_dynamics(
    folder: Path,
    total: int,
    new_model: Callable[[int], nn.Module],
    open_loader: Callable[[], Loader],
    views: Views,
    training: Training,
    evidence: Evidence,
    seed: int,
) -> TrainingDynamics:
    """Train the proxies that are missing in `folder` and open all of them. A killed call goes on where it was.

    Args:
        folder: of this evidence alone; the caller names it by its configuration.
        total: N.
        new_model: seed -> a fresh proxy on its device.
        open_loader: of the training split; called only if something is to be trained.
        views: of the training pass.
        training: of the proxies.
        evidence: how many runs, and when to look.
        seed: of the first run; run r has seed + r.

    Raises:
        BadValue: the early checkpoint lies behind the last epoch.
    """
    early_epoch, epochs = evidence.early_epoch, training.epochs
    if early_epoch > epochs:
        raise BadValue(f"evidence.early_epoch is {early_epoch}, but the proxy trains for {epochs} epochs (score.epochs)")
    steps = planned_steps(training, total, total)
    presentations, early, cost = [], [], Cost()
    for number in range(evidence.runs):
        run = folder / f"run-{number:03d}"
        whole = number < evidence.full_runs
        length = epochs if whole else early_epoch
        with held(run / DONE, f"another process trains proxy {number + 1}"):
            tracks = Track(run / "presentations", length, total), Track(run / "early", 1, total)
            if not (run / DONE).exists():
                say(f"proxy {number + 1} of {evidence.runs}: {length} of {epochs} epochs over {total:,} samples")
                loader = open_loader()
                checkpoint = Checkpoint(run / "checkpoint.safetensors")
                early_recorder = _RecordEarly(Recorder(tracks[1]), early_epoch, loader, views)
                progress = fit(
                    new_model(seed + number), loader, np.arange(total), views, training,
                    CrossEntropy(training.label_smoothing), seed=seed + number, steps=steps, stop_after=length,
                    label=f"proxy {number + 1}", checkpoint=checkpoint,
                    observers=(RecordTraining(Recorder(tracks[0])), early_recorder),
                )  # fmt: skip
                for row in range(length):
                    tracks[0].check_whole(row)
                tracks[1].check_whole(0)
                write_json(run / DONE, {"samples_seen": progress.samples_seen, "seconds": round(progress.seconds, 3)})
                checkpoint.remove()
        spent = read_json(run / DONE)
        cost += Cost(spent["samples_seen"], total, spent["seconds"])
        if whole:
            presentations.append(tracks[0])
        early.append(tracks[1])
    return TrainingDynamics(tuple(presentations), tuple(early), early_epoch, cost)
