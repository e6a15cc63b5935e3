"""What a result says of a training: the search for the KD weight, pruned weights, dynamic pruning, self-distillation."""

from typing import Annotated

from pydantic import Field

from datapruning.config.sparsity import SparsityConfig
from datapruning.utils.records import Record

Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class InfoBatchRecord(Record):
    """What dynamic pruning left out: `share` of the easy samples of each epoch, until `until` of the epochs."""

    share: float
    until: float
    samples_skipped: Count


class ExtraPasses(Record):
    """Auxiliary samples that self-distillation passed through the network: trained on, or in a forward pass alone."""

    trained: Count
    forward: Count


class SelfDistillationRecord(Record):
    """The method, the settings that it reads, and what it added to the training."""

    method: str
    settings: dict[str, float]
    extra_passes: ExtraPasses


class ProbeResult(Record):
    """One probe of the search for a KD weight.

    `confidence_weighting`: see `DistillationLoss`. `teacher` counts the candidates from 0. Accuracy and its standard error
    are in percent, on the validation samples.
    """

    weight: float
    temperature: float
    confidence_weighting: bool
    teacher: Count
    accuracy: Percent
    stderr: float
    samples_seen: Count
    seconds: Seconds


class CurvePoint(Record):
    """The fitted response at a weight, accuracy in percent; the bounds are one deviation of the difference to the best."""

    weight: float
    accuracy: float
    low: float
    high: float


class KDSearch(Record):
    """The chosen KD weight with its evidence; `teacher` counts the candidates from 0.

    `validation` says which samples the probes were evaluated on: "pruned-away", "set-aside" (kept ones that were not
    trained on until the decision) or both. `cost` is in trainings, a forward pass counted as a third of a training pass.
    """

    weight: float
    temperature: float
    confidence_weighting: bool
    teacher: Count
    method: str
    probes: tuple[ProbeResult, ...]
    curve: tuple[CurvePoint, ...]
    validation: str
    validation_size: Count
    samples_seen: Count
    evaluated: Count
    flops: Count
    cost: float


class PrunedLayer(Record):
    """A prunable layer of a network with masks: `name` and `shape` of its weight, of whose `total` numbers `kept` are kept.

    `positions`: how often a weight is used for one image (output pixels of a convolution, 1 of a linear layer).
    """

    name: str
    shape: tuple[int, ...]
    total: Annotated[int, Field(ge=1)]
    kept: Count
    positions: Count

    @property
    def flops(self) -> tuple[int, int]:
        """Multiplications and additions for one image: dense, and with zeros skipped."""
        return 2 * self.positions * self.total, 2 * self.positions * self.kept


class SparsityRecord(Record):
    """How a student's weights were pruned before it was trained: by `settings`, in `rounds` steps.

    Of `total` prunable weights `kept` are kept; `masks` is the digest of the masks. The `protected` layers would have been
    cut to nothing, and kept their strongest weight. `flops` are multiplications and additions for one image,
    `flops_without_zeros` those that are left if zeros are skipped.
    """

    settings: SparsityConfig
    rounds: int
    kept: Count
    total: Annotated[int, Field(ge=1)]
    masks: str
    protected: tuple[str, ...]
    flops: Count
    flops_without_zeros: Count
    layers: tuple[PrunedLayer, ...]
