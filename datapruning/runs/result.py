"""The result of a finished run: the content of `result.json` as typed records, read and written here only.

`RunResult` is what any network that can teach has; `TrainedResult` adds what a training of this package measures, and
`StudentResult` where the samples came from, who taught, and how the KD weight was found. The key `role` says which one
a file holds.
"""

from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import Field

from datapruning.artifacts.init_record import InitRecord
from datapruning.errors import InvalidFile, UnknownName
from datapruning.io.json import read_json, write_json
from datapruning.runs.training_records import (
    Count,
    InfoBatchRecord,
    KDSearch,
    Percent,
    Seconds,
    SelfDistillationRecord,
    SparsityRecord,
)  # fmt: skip
from datapruning.utils.cost import NO_COST, ComputeCost
from datapruning.utils.records import Record, parse_record

Amount = TypeVar("Amount")


class Phases(Record, Generic[Amount]):
    """What each phase of a run took; None where a run has no such phase."""

    scoring: Amount | None = None
    teacher: Amount | None = None
    soft_labels: Amount | None = None
    self_teacher: Amount | None = None
    self_soft_labels: Amount | None = None
    search: Amount | None = None
    prune: Amount | None = None
    train: Amount | None = None
    evaluate: Amount | None = None

    def merged(self, other: Self) -> Self:
        """Both merged; where both have a phase, that of `other`."""
        return type(self)(**{name: value for part in (self, other) for name, value in part if value is not None})


PhaseSeconds = Phases[Seconds]
"""Wall-clock seconds; next to none where an existing result was used."""
PhaseCosts = Phases[ComputeCost]
"""What a phase costs if nothing exists yet, whichever run paid for it."""


class RunResult(Record):
    """The common result of networks that can teach; `role` is the kind of result.

    `test_accuracy` is that of the last epoch, in percent; `samples_seen` counts samples that went through a training pass;
    `package_version` is that of the package that made the run.
    """

    role: str
    test_accuracy: Percent
    model: str
    classes: Annotated[int, Field(ge=1)]
    dataset: str
    fingerprint: str
    samples_seen: Count
    seconds: PhaseSeconds = PhaseSeconds()
    costs: PhaseCosts = PhaseCosts()
    package_version: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a result.json, as the class that its role names.

        Raises:
            InvalidFile: missing, broken, an unknown or a missing key, a wrong type, or a result of another kind than `cls`.
        """
        return cls.parse(read_json(path), str(path))

    @classmethod
    def parse(cls, value: dict[str, Any], source: str) -> Self:
        """Check the content of a result.json; `source` names the file in messages.

        Raises:
            InvalidFile: see `read`.
        """
        role = value.get("role")
        if role not in RESULTS:
            raise InvalidFile(
                f"{source}: 'role' is missing" if role is None else f"{source}: {UnknownName('role', str(role), RESULTS)}"
            )
        result = parse_record(RESULTS[role], value, source)
        if not isinstance(result, cls):
            needed = next((name for name, kind in RESULTS.items() if issubclass(kind, cls)), "run")
            raise InvalidFile(f"{source} is the result of a {result.role}; that of a {needed} is needed")
        return result

    def write(self, path: Path) -> None:
        """Write a result.json with its checksum, whole or not at all."""
        write_json(path, self.to_json())

    @property
    def trained_with(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of the channels, 0..1, of the images it was trained with; None: the dataset's own."""
        return None

    @property
    def training_cost(self) -> ComputeCost:
        """Of the training, and of the search for a KD weight if there was one."""
        return (self.costs.train or NO_COST) + (self.costs.search or NO_COST)


class InputStatistics(Record):
    """Mean and standard deviation of the channels that a network was trained with, 0..1, one number a channel."""

    mean: tuple[Annotated[float, Field(ge=-1e6)], ...]
    std: tuple[Annotated[float, Field(ge=1e-6)], ...]


class ImportedTeacherResult(RunResult):
    """A network that was trained elsewhere, and read from the file `source` of weights.

    `input` says what its images were normalised with; None: the dataset's own numbers.
    """

    role: Literal["imported teacher"] = "imported teacher"
    source: str
    input: InputStatistics | None = None

    @property
    def trained_with(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of the channels, 0..1, of the images it was trained with; None: the dataset's own."""
        return None if self.input is None else (self.input.mean, self.input.std)


class TrainedResult(RunResult):
    """What `train_and_evaluate` measures of a teacher or a student.

    Of `total` training samples `kept` were trained on, for `epochs` passes and `steps` optimiser steps; `fraction` is the
    share that was asked for (None: ids were given). `seed` is that of initialisation, order and views; `device` is "cpu" or
    "cuda"; `threads` are torch's on the CPU; `processes` shared the training; `precision` is that of training passes (None:
    not recorded). `init` are the weights that it started from (None: at random).
    """

    fraction: float | None = None
    kept: Annotated[int, Field(ge=1)]
    total: Annotated[int, Field(ge=1)]
    budget: str
    epochs: Count
    steps: Count
    seed: int
    device: str
    threads: int
    processes: int
    precision: Literal["fp32", "bf16"] | None = None
    infobatch: InfoBatchRecord | None = None
    self_distill: SelfDistillationRecord | None = None
    init: InitRecord | None = None


class EarlyCheckpoint(Record):
    """Weights that a teacher kept after `epoch` (counted from 1) of its training: `weights` is their hash."""

    epoch: Annotated[int, Field(ge=1)]
    weights: str


class TeacherResult(TrainedResult):
    """A network that was trained on every sample, and its early checkpoints in the order of their epochs."""

    role: Literal["teacher"] = "teacher"
    early: tuple[EarlyCheckpoint, ...] = ()


class TeacherRecord(Record):
    """A teacher as the result of its student names it: `weights` is the hash of its weights.

    An early checkpoint has an `epoch`; it was not evaluated on the test set, and has no `test_accuracy`.
    """

    folder: str
    model: str
    test_accuracy: Percent | None = None
    weights: str
    epoch: Annotated[int, Field(ge=1)] | None = None

    @property
    def path(self) -> str:
        """How it is named as a teacher: RUN, or RUN@EPOCH."""
        return self.folder if self.epoch is None else f"{self.folder}@{self.epoch}"

    @property
    def name(self) -> str:
        """Its network, as in "resnet18" or "resnet18 @ epoch 4"."""
        return self.model if self.epoch is None else f"{self.model} @ epoch {self.epoch}"

    @property
    def description(self) -> str:
        """Its name, with the accuracy on the test set where that is known."""
        return self.name if self.test_accuracy is None else f"{self.name} ({self.test_accuracy:.2f}%)"


class SubsetOrigin(Record):
    """Which samples a student was trained on: those in the file `subset`, chosen by `scorer` and `strategy`.

    `fraction` and `balance` ("none" or "class") are None where ids were given; `strategy` and its settings, as
    "name=value", where the scorer alone says how.
    """

    fraction: float | None = None
    scorer: str
    balance: str | None = None
    subset: str
    strategy: str | None = None
    strategy_settings: tuple[str, ...] | None = None


class TeachingRecord(Record):
    """Who taught a student: all of `teacher` together, chosen from `teacher_candidates` where there was a choice.

    `self_teacher` is the run of the same samples without self-distillation that "tf-kd-self" learns from;
    `soft_labels_computed` counts soft labels that were not there yet. `seconds` and `costs` are of teachers and labels.
    """

    teacher: tuple[TeacherRecord, ...] = ()
    teacher_candidates: tuple[TeacherRecord, ...] | None = None
    self_teacher: TeacherRecord | None = None
    soft_labels_computed: Count = 0
    seconds: PhaseSeconds = PhaseSeconds()
    costs: PhaseCosts = PhaseCosts()

    def with_self_teacher(self, other: "TeachingRecord") -> "TeachingRecord":
        """The same with a self teacher, the one teacher of another record."""
        seconds = PhaseSeconds(self_teacher=other.seconds.teacher, self_soft_labels=other.seconds.soft_labels)
        costs = PhaseCosts(self_teacher=other.costs.teacher, self_soft_labels=other.costs.soft_labels)
        merged = {"seconds": self.seconds.merged(seconds), "costs": self.costs.merged(costs)}
        return TeachingRecord(**{**dict(self), **merged, "self_teacher": other.teacher[0]})

    def with_teachers(self, other: "TeachingRecord") -> "TeachingRecord":
        """The same with the teachers of another record, and what their labels took."""
        merged = {"seconds": self.seconds.merged(other.seconds), "costs": self.costs.merged(other.costs)}
        given = {key: getattr(other, key) for key in ("teacher", "teacher_candidates", "soft_labels_computed")}
        return TeachingRecord(**{**dict(self), **given, **merged})

    def with_scoring(self, cost: ComputeCost | None) -> "TeachingRecord":
        """The same with the cost of the scores that chose the samples."""
        return TeachingRecord(**{**dict(self), "costs": self.costs.merged(PhaseCosts(scoring=cost))})


class StudentMetadata(SubsetOrigin, TeachingRecord):
    """What is known of a student before its training ends.

    `kd_weight` is 0 (labels alone) to 1 (teacher alone), found by `kd_weight_search` unless it was given; `temperature` is
    that of the soft labels (None without a teacher); with `confidence_weighting`, labels count only as far as the teacher
    believes them.
    """

    kd_weight: Annotated[float, Field(ge=0, le=1)]
    temperature: float | None = None
    confidence_weighting: bool = False
    kd_weight_search: KDSearch | None = None
    sparsity: SparsityRecord | None = None

    def complete(self, trained: TrainedResult) -> "StudentResult":
        """The result of the run."""
        phases = {"seconds": self.seconds.merged(trained.seconds), "costs": self.costs.merged(trained.costs)}
        return StudentResult(**{**dict(trained), **dict(self), **phases})


class StudentResult(StudentMetadata, TrainedResult):
    """A network that was trained on a subset."""

    role: Literal["student"] = "student"


RESULTS: dict[str, type[RunResult]] = {
    "student": StudentResult, "teacher": TeacherResult, "imported teacher": ImportedTeacherResult,
}  # fmt: skip
