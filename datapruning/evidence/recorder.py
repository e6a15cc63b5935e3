"""The recorder: `update(logits, targets, ids)` from any training loop, at next to no cost.

A training step only copies its logits into a buffer on its device; softmax and scattering run once for thousands of
samples. Memory stays constant: one buffer, and memory-mapped rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.sample_stats import SampleStats, statistics
from datapruning.training.callbacks import Callback

BUFFER_ROWS = 8192
LOGITS, TARGETS, IDS = "recorder.logits", "recorder.targets", "recorder.ids"


class Recorder:
    """Writes a track, an epoch a row.

    Use: `start_epoch(epoch)`, then `update(...)` for each batch, then `end_epoch()`.

    Args:
        track: where to.
        changes: what follows the predictions from epoch to epoch; None: a track that does not keep `change`.
        labels: int64 [N] to check the targets against, -1 where none is known yet; those are filled in.
    """

    def __init__(
        self, track: SampleStats, changes: PredictionChange | None = None, labels: NDArray[np.int64] | None = None
    ) -> None:
        self.track, self.changes, self.labels = track, changes, labels
        self._row = -1
        self._used = 0
        self._logits: Tensor | None = None
        self._targets: Tensor | None = None
        self._ids = np.empty(BUFFER_ROWS, np.int64)

    def start_epoch(self, epoch: int) -> None:
        """Start the row of `epoch`; an epoch that begins again replaces what it recorded before.

        Raises:
            InvalidValue: an epoch that the track has no row for.
        """
        if not 0 <= epoch < self.track.rows:
            raise InvalidValue(
                f"epoch {epoch} is outside this recording of {self.track.rows} epochs (0..{self.track.rows - 1})"
            )
        self._row, self._used = epoch, 0
        self.track.clear(epoch)
        if self.changes is not None:
            self.changes.start_epoch(epoch)

    def resume(self, epoch: int, ids: NDArray[np.int64]) -> None:
        """Go on in the row of `epoch`, in which samples `ids` int64 came before; what it holds of others is void.

        Those that waited in the buffer then are there again after `restore`, which is called before.
        """
        self._row = epoch
        self.track.clear(epoch, but=np.setdiff1d(ids, self._ids[: self._used]))
        if self.changes is not None:
            self.changes.start_epoch(epoch, inside=True)

    def flush(self) -> None:
        """What the row has goes to the disk, but for the buffer, which is a checkpoint's.

        To empty it here would change the shape of later reductions, and with it the last bits of what is recorded.
        """
        self.track.flush()
        if self.changes is not None:
            self.changes.flush()

    def tensors(self) -> dict[str, Tensor]:
        """What waits in the buffer: logits float32 [n, classes], targets int64 [n], ids int64 [n]."""
        if not self._used or self._logits is None or self._targets is None:
            return {}
        used = slice(0, self._used)
        return {LOGITS: self._logits[used], TARGETS: self._targets[used], IDS: torch.from_numpy(self._ids[used])}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """That waits again."""
        if IDS in tensors:
            logits, targets, ids = (tensors[name] for name in (LOGITS, TARGETS, IDS))
            self._logits = logits.new_empty(BUFFER_ROWS, logits.shape[1])
            self._targets = targets.new_empty(BUFFER_ROWS)
            self._used = len(ids)
            used = slice(0, self._used)
            self._logits[used], self._targets[used], self._ids[used] = logits, targets, ids.numpy()

    def update(self, logits: Tensor, targets: Tensor, ids: NDArray[np.int64] | Tensor) -> None:
        """Record a batch.

        Args:
            logits: float [n, classes], of the training or evaluation pass; no gradient is kept.
            targets: int64 [n].
            ids: int64 [n], sample ids in the full training split. Floats are refused: they lose large ids.

        Raises:
            InvalidValue: ids or targets that are no whole numbers, shapes that do not fit, or no epoch begun.
        """
        if self._row < 0:
            raise InvalidValue("no epoch has begun: call start_epoch(epoch) before update(...)")
        ids = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
        if not np.issubdtype(ids.dtype, np.integer):
            raise InvalidValue(f"sample ids are whole numbers, got {ids.dtype}")
        if logits.ndim != 2 or logits.shape[1] < 2 or targets.ndim != 1 or targets.is_floating_point():
            raise InvalidValue(
                "logits are [n, classes] of at least 2 classes and targets are the numbers of n classes; "
                f"got {list(logits.shape)} and {targets.dtype} {list(targets.shape)}"
            )
        if not len(ids) == len(logits) == len(targets):
            raise InvalidValue(f"{len(logits)} logits, {len(targets)} targets and {len(ids)} ids were given")
        logits = logits.detach()
        if self._logits is None or self._targets is None:
            self._logits = logits.new_empty(BUFFER_ROWS, logits.shape[1], dtype=torch.float32)
            self._targets = targets.new_empty(BUFFER_ROWS, dtype=torch.int64)
        if self._logits.device != logits.device:  # restored on the host
            self._logits, self._targets = self._logits.to(logits.device), self._targets.to(logits.device)
        if self._logits.shape[1] != logits.shape[1]:
            raise InvalidValue(f"the network gave {self._logits.shape[1]} logits a sample before, and {logits.shape[1]} now")
        for start in range(0, len(ids), BUFFER_ROWS):
            part = slice(start, start + BUFFER_ROWS)
            count = len(ids[part])
            if self._used + count > BUFFER_ROWS:
                self._reduce()
            room = slice(self._used, self._used + count)
            self._logits[room] = logits[part]
            self._targets[room] = targets[part]
            self._ids[room] = ids[part]
            self._used += count

    def end_epoch(self) -> None:
        """Finish the row and hand it to the disk."""
        self._reduce()
        self.track.flush()
        if self.changes is not None:
            self.changes.end_epoch()

    def _reduce(self) -> None:
        if self._used and self._logits is not None and self._targets is not None:
            used = slice(0, self._used)
            ids, logits, targets = self._ids[used], self._logits[used], self._targets[used]
            self.track.check_new(self._row, ids)
            foreign = ((targets < 0) | (targets >= logits.shape[1])).cpu().numpy()
            if foreign.any():
                raise InvalidValue(
                    f"labels lie in 0..{logits.shape[1] - 1} (the network gives so many logits); sample id "
                    f"{ids[foreign][0]} has {int(targets[int(foreign.argmax())])}"
                )
            finite = logits.isfinite().all(1)
            if not finite.all():
                bad = ids[~finite.cpu().numpy()]
                raise InvalidValue(
                    f"{len(bad):,} samples have NaN or infinite logits in epoch {self._row}: ids {_few(bad)}; nothing can "
                    "be scored from them (lower the learning rate?)"
                )
            if self.labels is not None:
                self._check_labels(ids, targets.cpu().numpy())
            with torch.no_grad():
                values = statistics(logits, targets, self.track.statistics)
                if self.changes is not None:
                    values["change"] = self.changes.update(logits, ids)
            self.track.write(self._row, ids, values)
        self._used = 0

    def _check_labels(self, ids: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        assert self.labels is not None
        known = self.labels[ids]
        wrong = np.flatnonzero((known != -1) & (known != targets))
        if wrong.size:
            k = wrong[0]
            raise InvalidValue(
                f"sample id {ids[k]} has label {targets[k]} in epoch {self._row} but had {known[k]} before: ids are "
                "positions in the full training set, the same in every epoch"
            )
        self.labels[ids] = targets


def _few(ids: NDArray[np.int64]) -> str:
    return ", ".join(str(each) for each in ids[:5]) + (", ..." if len(ids) > 5 else "")


class RecorderCallback(Callback):
    """Records the training pass itself: every presentation of every sample, at no extra forward."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_epoch_start(self, epoch: int) -> None:
        """A row an epoch."""
        self.recorder.start_epoch(epoch)

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """Each batch."""
        self.recorder.update(logits, batch.labels, batch.ids)

    def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
        """The row is whole."""
        self.recorder.end_epoch()

    def on_resume(self, epoch: int, ids: NDArray[np.int64]) -> None:
        """In the middle of a row."""
        self.recorder.resume(epoch, ids)

    def flush(self) -> None:
        """The row so far."""
        self.recorder.flush()

    def tensors(self) -> dict[str, Tensor]:
        """What has not reached the row."""
        return self.recorder.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The same."""
        self.recorder.restore(tensors)

    def on_checkpoint(self, epoch: int) -> None:
        """A resume begins after this epoch."""
        if self.recorder.changes is not None:
            self.recorder.changes.saved(epoch)
