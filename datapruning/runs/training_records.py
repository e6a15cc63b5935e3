"""What a result says of a training: the search for the KD weight, pruned weights, dynamic pruning, self-distillation."""

from typing import Annotated, Literal

from pydantic import Field

from datapruning.config.sparsity import SparsityConfig
from datapruning.utils.cost import NO_COST, ComputeCost
from datapruning.utils.records import Record

Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
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


Augmentation = Literal["recipe", "resized", "cutmix", "resized and cutmix"]


class Candidate(Record):
    """What a search may choose: how a student is taught.

    `weight`: the KD weight, 0 (labels alone) to 1 (teacher alone). `temperature` and `confidence_weighting`: see
    `DistillationLoss`. `teacher` counts the candidate teachers from 0. `augmentation`: "recipe" is what the recipe says,
    "resized" random resized crops in place of its crops, "cutmix" adds CutMix.
    """

    weight: Share
    temperature: Annotated[float, Field(gt=0)]
    confidence_weighting: bool = False
    teacher: Count = 0
    augmentation: Augmentation = "recipe"

    @property
    def labels_only(self) -> bool:
        """Whether the teacher has no influence."""
        return self.weight == 0 and not self.confidence_weighting

    @property
    def candidate(self) -> "Candidate":
        """The candidate alone, of a record that says more of it."""
        return Candidate(**{key: getattr(self, key) for key in Candidate.model_fields})

    @property
    def setting(self) -> str:
        """What it has beside its KD weight, in words."""
        teacher = f", teacher {self.teacher + 1}" if self.teacher else ""
        return f"T={self.temperature:g}{self._augmentation_words}{teacher}"

    @property
    def _augmentation_words(self) -> str:
        resized, cutmix = ("resized" in self.augmentation, "cutmix" in self.augmentation)
        return f"{', resized crops' if resized else ''}{', CutMix' if cutmix else ''}"

    def __str__(self) -> str:
        if self.labels_only:
            return f"0 (labels alone){self._augmentation_words}"
        return f"{self.weight:g} at {self.setting}{' (the teacher alone)' if self.weight == 1 else ''}"


LABELS_ONLY = Candidate(weight=0.0, temperature=1.0)
"""Labels alone; the temperature has no meaning."""


class Regime(Record):
    """What is known of a student's training before it begins, and what the prior of a search is read from.

    `kept_per_class`: kept samples a class, in the mean. `epochs`: passes over the kept samples. `agreement`: fraction of the
    kept samples whose label is the teacher's prediction; `confidence`: the mean of the teacher's largest probability on them
    at T=1, which is near 1 where the teacher has memorised them. `wrong_labels`: the share of labels that the teacher holds
    to be wrong, estimated from those that it ranks in the lower half of the classes; a teacher that has only not learned
    the samples yet ranks few of their labels there.
    """

    kept_per_class: Annotated[float, Field(gt=0)]
    epochs: Annotated[float, Field(gt=0)]
    agreement: Share
    confidence: Share
    wrong_labels: Share


class ProbeResult(Candidate):
    """One probe of a search. Accuracy and its standard error are in percent, on the validation samples."""

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


class KDSearch(Candidate):
    """What was chosen, with its evidence.

    `proposed` is what the prior proposed in the `regime` (None where the KD weight is given), and what the run began with;
    `held` are the settings that the user had given, which were not searched. `num_views`: views of each image. `curve`: the
    fitted response to the KD weight, everything else as chosen. `validation` says which samples the probes were evaluated
    on: "pruned-away", "set-aside" (kept ones that were not trained on until the decision) or both; None where there were no
    probes. `early_teacher_gain`: where
    an early checkpoint was chosen, the points that it is expected to gain over the finished teacher. `labels` is the cost of
    soft labels that were made for probes alone, which the other numbers include. `cost` is in trainings, a forward pass
    counted as a third of a training pass.
    """

    proposed: Candidate
    regime: Regime | None = None
    held: tuple[str, ...] = ()
    num_views: Count
    probes: tuple[ProbeResult, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    validation: str | None = None
    validation_size: Count = 0
    early_teacher_gain: float | None = None
    labels: ComputeCost = NO_COST
    samples_seen: Count = 0
    evaluated: Count = 0
    flops: Count = 0
    cost: float = 0.0


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
