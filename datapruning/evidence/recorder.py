"""The recorder: `update(logits, targets, ids)` from any training loop, at next to no cost.

A training step only copies its logits into a buffer on its device; softmax and scattering run once for thousands of
samples. Memory stays constant: one buffer, and memory-mapped statistics.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.sample_stats import RECORDED, SampleStats, statistics
from datapruning.training.callbacks import Callback
from datapruning.utils.download import HostCopies

BUFFER_ROWS = 8192
LOGITS, TARGETS, IDS = "recorder.logits", "recorder.targets", "recorder.ids"
FINITE, LOG_PROBS = "recorder.finite", "recorder.log-probs"


class Recorder(Callback):
    """Records the statistics of an epoch as a row of `SampleStats`. Each process has a buffer of its own samples.

    Use: `start_epoch(epoch)`, then `update(...)` for each batch, then `end_epoch()`.

    Args:
        stats: where the statistics are written.
        prediction_change: computes the statistic `change`; None: it is not recorded.
        labels: int64 [N] to check the targets against, -1 where the label is not known yet; those are filled in.
    """

    per_process = True

    def __init__(
        self, stats: SampleStats, prediction_change: PredictionChange | None = None, labels: NDArray[np.int64] | None = None
    ) -> None:
        self.stats, self.prediction_change, self.labels = stats, prediction_change, labels
        self._row = -1
        self._used = 0
        self._logits: Tensor | None = None
        self._targets: Tensor | None = None
        self._ids = np.empty(BUFFER_ROWS, np.int64)
        self._pending: tuple[NDArray[np.int64], int, HostCopies] | None = None

    def start_epoch(self, epoch: int) -> None:
        """Start the row of `epoch`; an epoch that begins again replaces its row.

        Raises:
            InvalidValue: an epoch outside the recording.
        """
        if not 0 <= epoch < self.stats.rows:
            raise InvalidValue(
                f"epoch {epoch} is outside this recording of {self.stats.rows} epochs (0..{self.stats.rows - 1})"
            )
        self._row, self._used, self._pending = epoch, 0, None
        self.stats.clear(epoch)
        if self.prediction_change is not None:
            self.prediction_change.start_epoch(epoch)

    def on_resume(self, epoch: int, ids: NDArray[np.int64]) -> None:
        """Resume in the row of `epoch`, in which samples `ids` int64 came before; other samples of the row are cleared.

        Call `restore` first: it brings back the samples in the buffer.
        """
        self._row = epoch
        self.stats.clear(epoch, keep=ids)
        self.stats.arrays[RECORDED][epoch, self._ids[: self._used]] = 0  # of this process's buffer
        if self.prediction_change is not None:
            self.prediction_change.start_epoch(epoch, inside=True)

    def on_epoch_start(self, epoch: int) -> None:
        """Start the row of `epoch`."""
        self.start_epoch(epoch)

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """Record a batch of the training pass, without an extra forward pass."""
        self.update(logits, batch.labels, batch.ids)

    def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
        """Finish the row."""
        self.end_epoch()

    def on_checkpoint(self, epoch: int) -> None:
        """Note that a resume begins after this epoch."""
        if self.prediction_change is not None:
            self.prediction_change.saved(epoch)

    def flush(self) -> None:
        """Write the row so far to disk, without the buffer, which is part of a checkpoint.

        To empty the buffer here would change the shape of later reductions, and with it the last bits of the statistics.
        """
        self._write_pending()
        self.stats.flush()
        if self.prediction_change is not None:
            self.prediction_change.flush()

    def tensors(self) -> dict[str, Tensor]:
        """The content of the buffer: logits float32 [n, classes], targets int64 [n], ids int64 [n]."""
        if not self._used or self._logits is None or self._targets is None:
            return {}
        used = slice(0, self._used)
        return {LOGITS: self._logits[used], TARGETS: self._targets[used], IDS: torch.from_numpy(self._ids[used])}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the content of the buffer."""
        if IDS in tensors:
            logits, targets, ids = (tensors[name] for name in (LOGITS, TARGETS, IDS))
            self._logits = logits.new_empty(BUFFER_ROWS, logits.shape[1])
            self._targets = targets.new_empty(BUFFER_ROWS)
            self._used = len(ids)
            used = slice(0, self._used)
            self._logits[used], self._targets[used], self._ids[used] = logits, targets, ids.numpy()

    def update(self, logits: Tensor, targets: Tensor, ids: NDArray[np.int64] | Tensor) -> None:
        """Record a batch.

        Numbers on a GPU are checked when they have reached the host, some thousand samples later, or in `end_epoch`.

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
        if self.prediction_change is not None:
            self.prediction_change.open_epoch(logits.shape[1])  # here all processes are in the same step
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
            target = slice(self._used, self._used + count)
            self._logits[target] = logits[part]
            self._targets[target] = targets[part]
            self._ids[target] = ids[part]
            self._used += count

    def end_epoch(self) -> None:
        """Finish the row and write it to disk."""
        self._reduce()
        self._write_pending()
        self.stats.flush()
        if self.prediction_change is not None:
            self.prediction_change.end_epoch()

    def _reduce(self) -> None:
        """Turn the buffer into statistics; a GPU's are written when the next buffer is full: the host does not wait."""
        self._write_pending()
        if self._used and self._logits is not None and self._targets is not None:
            used = slice(0, self._used)
            ids, logits, targets = self._ids[used].copy(), self._logits[used], self._targets[used]
            self.stats.check_new(self._row, ids)
            classes = logits.shape[1]
            with torch.no_grad():
                values = statistics(logits, targets.clamp(0, classes - 1), self.stats.statistics)
                values |= {TARGETS: targets, FINITE: logits.isfinite().all(1)}
                if self.prediction_change is not None:
                    values["change"], values[LOG_PROBS] = self.prediction_change.compute(logits, ids)
            self._pending = ids, classes, HostCopies(values)
            if logits.device.type == "cpu":
                self._write_pending()
        self._used = 0

    def _write_pending(self) -> None:
        """Check and write the statistics that were computed last."""
        if self._pending is None:
            return
        ids, classes, copies = self._pending
        self._pending = None
        values = copies.get()
        targets, finite = values.pop(TARGETS).numpy(), values.pop(FINITE).numpy()
        out_of_range = np.flatnonzero((targets < 0) | (targets >= classes))
        if out_of_range.size:
            raise InvalidValue(
                f"labels lie in 0..{classes - 1} (the network gives so many logits); sample id "
                f"{ids[out_of_range[0]]} has {targets[out_of_range[0]]}"
            )
        if not finite.all():
            bad_ids = ids[~finite]
            raise InvalidValue(
                f"{len(bad_ids):,} samples have NaN or infinite logits in epoch {self._row}: ids {_few(bad_ids)}; "
                "nothing can be scored from them (lower the learning rate?)"
            )
        if self.labels is not None:
            self._check_labels(ids, targets)
        if self.prediction_change is not None:
            self.prediction_change.store(ids, values.pop(LOG_PROBS))
        self.stats.write(self._row, ids, values)

    def _check_labels(self, ids: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        assert self.labels is not None
        known = self.labels[ids]
        changed = np.flatnonzero((known != -1) & (known != targets))
        if changed.size:
            first = changed[0]
            raise InvalidValue(
                f"sample id {ids[first]} has label {targets[first]} in epoch {self._row} but had {known[first]} before: "
                "ids are positions in the full training set, the same in every epoch"
            )
        self.labels[ids] = targets


def _few(ids: NDArray[np.int64]) -> str:
    return ", ".join(str(sample_id) for sample_id in ids[:5]) + (", ..." if len(ids) > 5 else "")
