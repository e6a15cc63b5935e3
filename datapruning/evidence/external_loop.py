"""Evidence from a training loop outside this package: plain PyTorch, Lightning, the Hugging Face Trainer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.evidence.embeddings import to_features
from datapruning.evidence.manifests import NO_FINGERPRINT, RecordingManifest
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.recording import FEATURES, LABELS, RUNNER_UP, Recording, create_recording, write_array
from datapruning.evidence.sample_stats import runner_up_class
from datapruning.utils.cost import ComputeCost
from datapruning.utils.tensors import as_tensor


def record(
    folder: str | Path, dataset: Dataset | str, *, epochs: int, total: int | None = None, run: int = 0
) -> LoopRecorder:
    """A recorder for one run of a training loop; its recording is scored by `score_recording(folder, ...)`.

        recorder = dp.record("dynamics", "my photographs", total=len(data), epochs=30)
        for epoch in range(30):
            recorder.start_epoch(epoch)
            for images, labels, ids in loader:
                logits = model(images)
                recorder.update(logits, labels, ids)
                ...
            recorder.end_epoch()
        recorder.finish()

    Args:
        folder: folder of the recording; several runs may share one.
        dataset: opened by `open_dataset`, or the name of another one.
        epochs: number of epochs of the run.
        total: N, size of the full training set; not needed with an open dataset.
        run: number of the run, from 0; seeds differ between runs.

    Raises:
        InvalidValue: no `total`, or numbers below 1. IncompatibleInputs: the folder records something else.
    """
    if isinstance(dataset, Dataset):
        if total not in (None, dataset.total):
            raise InvalidValue(f"{dataset.name} has {dataset.total:,} training samples; total={total} was given")
        name, fingerprint, total = dataset.name, dataset.fingerprint, dataset.total
    else:
        if total is None:
            raise InvalidValue("say how many samples the full training set has: total=...", parameter="total")
        name, fingerprint = dataset, f"{NO_FINGERPRINT}{hashlib.sha256(dataset.encode()).hexdigest()[:16]}"
    if min(total, epochs) < 1 or run < 0:
        raise InvalidValue(f"total and epochs are at least 1, run at least 0; got {total}, {epochs} and {run}")
    manifest = RecordingManifest(dataset=name, fingerprint=fingerprint, total=total, epochs=epochs)
    return LoopRecorder(create_recording(Path(folder), manifest), run)


class LoopRecorder:
    """See `record`."""

    def __init__(self, recording: Recording, run: int) -> None:
        self.recording, self._run = recording, run
        self._epochs, self._total = recording.manifest.epochs, recording.total
        path = self.recording.folder / LABELS
        self._labels = self.recording.labels() if path.exists() else np.full(self._total, -1, np.int64)
        self._prediction_change = PredictionChange(self.recording.run_folder(run) / "changes", self._total)
        self._train_recorder = Recorder(self.recording.stats(run, "train_passes"), self._prediction_change, self._labels)
        self._recorder: Recorder | None = None
        self._features: NDArray[np.float16] | None = None
        self._has_features = np.zeros(self._total, bool)
        self._runner_up = np.zeros(self._total, np.int32)
        self._has_final = False
        if self.recording.run_manifest(run) is not None:
            raise InvalidValue(
                f"{recording.folder} has run {run} already, whole; record another run (run={run + 1}) or name another folder"
            )

    def start_epoch(self, epoch: int) -> None:
        """Start an epoch, from 0. One that begins again, after a crash, replaces its record.

        Raises:
            InvalidValue: an epoch outside the recording, or one whose predecessor is missing (see `saved`).
        """
        if epoch == 0 and not self.recording.runs():
            self._labels[:] = -1  # those of a failed first attempt, if any
        self._recorder = self._train_recorder
        self._recorder.start_epoch(epoch)

    def start_final_evaluation(self) -> None:
        """Start an evaluation pass after the last epoch.

        Loss, entropy, margin and confidence are scored from it; `find_label_issues_of_recording` reads it too.
        """
        self._recorder = Recorder(self.recording.stats(self._run, "final"), None, self._labels)
        self._recorder.start_epoch(0)
        self._has_final, self._features = True, None
        self._has_features[:] = False

    def update(
        self,
        logits: ArrayLike | Tensor,
        targets: ArrayLike | Tensor,
        ids: ArrayLike | Tensor,
        features: ArrayLike | Tensor | None = None,
    ) -> None:
        """Record a batch, of tensors, arrays or lists.

        Args:
            logits: float [n, classes]; no gradient is kept.
            targets: int64 [n].
            ids: int64 [n], positions in the full training split.
            features: float [n, width], penultimate features, for geometric scorers; in the pass after the last epoch alone.

        Raises:
            InvalidValue: ids that are not whole numbers or come twice, NaN or infinite logits, labels that changed, features
            outside the last pass.
        """
        if self._recorder is None:
            raise InvalidValue("no epoch has begun: call start_epoch(epoch) before update(...)")
        logits, targets = as_tensor(logits, "logits"), as_tensor(targets, "targets")
        sample_ids = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
        self._recorder.update(logits, targets, sample_ids)
        if self._recorder is self._train_recorder:
            if features is not None:
                raise InvalidValue(
                    "features are recorded in the pass after the last epoch: call start_final_evaluation() before it"
                )
            return
        valid = (sample_ids >= 0) & (sample_ids < self._total)  # `end_epoch` names those that are not
        self._runner_up[sample_ids[valid]] = runner_up_class(logits.detach(), targets).cpu().numpy()[valid]
        if features is not None:
            self._store_features(to_features(as_tensor(features, "features"), sample_ids)[valid], sample_ids[valid])

    def _store_features(self, stored: NDArray[np.float16], ids: NDArray[np.int64]) -> None:
        width = stored.shape[1]
        if self._features is None:
            self._features = np.zeros((self._total, width), np.float16)
        if self._features.shape[1] != width:
            raise InvalidValue(f"features had {self._features.shape[1]} numbers a sample before, and have {width} now")
        self._features[ids] = stored
        self._has_features[ids] = True

    def end_epoch(self) -> None:
        """Finish the epoch, or the pass after the last one."""
        if self._recorder is not None:
            self._recorder.end_epoch()
            write_array(self.recording.folder / LABELS, self._labels)  # a resumed process checks against them
        self._recorder = None

    def saved(self, epoch: int) -> None:
        """Report that the training loop has saved a checkpoint after `epoch`; the state to resume from it is kept.

        Not needed by a loop that is never resumed, or that saves after every epoch.
        """
        self._prediction_change.saved(epoch)

    def finish(self, seconds: float = 0.0) -> Path:
        """Check that nothing is missing and finish the run. Returns the recording's folder.

        Args:
            seconds: duration of the training, for cost tables.

        Raises:
            InvalidValue: gaps, naming epochs and ids; features of some samples alone in the last pass.
        """
        for epoch in range(self._epochs):
            self.recording.stats(self._run, "train_passes").check_complete(epoch)
        if self._has_final:
            self.recording.stats(self._run, "final").check_complete(0, where="the pass after the last epoch")
        missing = np.flatnonzero(~self._has_features)
        if self._features is not None and missing.size:
            raise InvalidValue(f"{missing.size:,} samples came without features, the first is id {missing[0]}")
        if (self._labels < 0).any():
            raise InvalidValue(f"the label of sample id {np.argmin(self._labels)} is not known; record the last epoch again")
        write_array(self.recording.folder / LABELS, self._labels)
        if self._features is not None:
            write_array(self.recording.run_folder(self._run) / FEATURES, self._features)
        if self._has_final:
            write_array(self.recording.run_folder(self._run) / RUNNER_UP, self._runner_up)
        cost = ComputeCost(self._epochs * self._total, self._total * self._has_final, seconds)
        self.recording.finish_run(self._run, epochs=self._epochs, early=False, final=self._has_final, cost=cost)
        self._prediction_change.remove()
        return self.recording.folder
