"""The metadata that files carry: which dataset they were made from and how, as typed records."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypedDict, TypeVar

from pydantic import Field

from datapruning.artifacts.init_record import InitRecord
from datapruning.config.augmentation import AugmentPolicy
from datapruning.config.ensemble import EnsembleConfig
from datapruning.config.evidence import EvidenceConfig
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import differing_options
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.utils.cost import ComputeCost
from datapruning.utils.records import Record, parse_record
from datapruning.version import __version__

VERSION: Literal[1] = 1


class DatasetIdentity(Protocol):
    """What names a dataset: enough to say whether a file was made from it."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def total(self) -> int: ...
    @property
    def spec(self) -> str: ...


class Metadata(Record):
    """The metadata common to all files.

    Attributes:
        format: kind of the file.
        version: version of its format.
        dataset: name of the dataset.
        spec: what opens the dataset: its name, or its path with the options that its images are read with (see
            `datapruning.data.dataset_spec`); empty: not known.
        fingerprint: of the dataset's content.
        total: number of training samples of the dataset.
        package_version: version of datapruning that wrote the file.
        created: time of writing, ISO 8601.
    """

    format: str
    version: Literal[1] = VERSION
    dataset: str
    spec: str = ""
    fingerprint: str
    total: Annotated[int, Field(ge=1)]
    package_version: str
    created: str

    @property
    def name(self) -> str:
        """Name of the dataset: metadata identify a dataset, as the dataset itself does."""
        return self.dataset


class EmbeddingsRecord(Record):
    """Embeddings that were computed elsewhere: the hash of their content, and `path`, where they were (None: an array)."""

    path: str | None = None
    sha256: str
    width: Annotated[int, Field(ge=1)]
    dtype: str


class EvidenceFields(TypedDict, total=False):
    """Return the metadata fields of the evidence; see `ScoresMetadata`."""

    evidence: EvidenceConfig
    proxy: TrainConfig
    views: AugmentPolicy
    ensemble: EnsembleConfig
    ensemble_member: TrainConfig
    recording: str
    init: InitRecord
    embeddings: EmbeddingsRecord
    costs: ComputeCost


class ScoresMetadata(Metadata):
    """Metadata of scores.

    Attributes:
        scorer: name of the scorer.
        source: the scorer's paper and section.
        sign: which samples come first, and whether the paper's sign was flipped.
        seed: random seed of the evidence.
        class_names: names of the classes; None: not known.
        set_aside: number of samples whose score does not count, because the dataset was changed (see `adapt_scores`).
        unreadable: ids of images that cannot be read, which have the lowest score.
        evidence: settings of the recording, as the next two if proxies were trained.
        proxy: training of the proxies.
        init: weights that the proxies started from; None: at random.
        views: augmentation of the proxies.
        ensemble: settings of the subset ensemble, as the next if one was trained.
        ensemble_member: training of its members.
        recording: folder of the evidence.
        embeddings: that were computed elsewhere, and scored instead of a recording's.
        costs: compute that the evidence took.
    """

    format: Literal["datapruning.scores"] = "datapruning.scores"
    scorer: str
    source: str | None = None
    sign: str | None = None
    seed: int | None = None
    class_names: tuple[str, ...] | None = None
    set_aside: Annotated[int, Field(ge=0)] | None = None
    unreadable: tuple[int, ...] | None = None
    evidence: EvidenceConfig | None = None
    proxy: TrainConfig | None = None
    views: AugmentPolicy | None = None
    ensemble: EnsembleConfig | None = None
    ensemble_member: TrainConfig | None = None
    init: InitRecord | None = None
    recording: str | None = None
    embeddings: EmbeddingsRecord | None = None
    costs: ComputeCost | None = None


class SubsetMetadata(Metadata):
    """Metadata of a subset; of ids that were chosen elsewhere, those from `strategy` on are not recorded.

    Attributes:
        scorer: name of the scorer that ranked the samples; "ids": they were chosen elsewhere.
        source: where such ids come from.
        fraction: fraction of the training set that was asked for.
        kept: number of samples.
        strategy: how the samples were chosen by their scores.
        settings: of the strategy.
        balance: "none" or "class".
        seed: random seed of the strategy.
        recording: folder of the evidence that the strategy read.
        embeddings: that were computed elsewhere, and read by the strategy.
        scores: metadata of the scores.
        excluded: number of samples that were left out beforehand.
    """

    format: Literal["datapruning.subset"] = "datapruning.subset"
    scorer: str
    source: str | None = None
    fraction: float | None = None
    kept: int | None = None
    strategy: str | None = None
    settings: dict[str, int | float] | None = None
    balance: Literal["none", "class"] | None = None
    seed: int | None = None
    recording: str | None = None
    embeddings: EmbeddingsRecord | None = None
    scores: ScoresMetadata | None = None
    excluded: int | None = None


class LabelIssuesMetadata(Metadata):
    """Metadata of a list of label issues.

    Attributes:
        scorer: name of the scorer that ranked the samples.
        seed: random seed of the evidence.
        end: end of the scores that is listed.
        means: what a score at this end means.
        count: number of samples that were asked for.
        label_prob: which networks the probabilities of the labels come from; None: not recorded.
        confident_others: number of samples that confident learning counts as of another class than their label.
        scores: metadata of the scores.
    """

    format: Literal["datapruning.label_issues"] = "datapruning.label_issues"
    scorer: str
    seed: int | None = None
    end: Literal["lowest", "highest"]
    means: str = ""
    count: int | None = None
    label_prob: str | None = None
    confident_others: int | None = None
    scores: ScoresMetadata | None = None


class InfluenceMetadata(Metadata):
    """Metadata of influences; see `datapruning.analysis.influence.influence`.

    Attributes:
        tests: number of test samples.
        top: training samples that are kept of each test sample.
        pairs: which pairs were considered, "same-class" or "all".
        least_memorization: threshold of a pair of high influence, for its training sample.
        least_influence: threshold of a pair of high influence.
        members: number of ensemble members.
        considered: number of pairs that were considered.
        num_pairs_found: number of pairs of high influence.
        kept: number of them that the file holds, the strongest.
        expected: mean number of such pairs by chance; None: not estimated.
        expected_sd: its standard deviation.
        permutations: number of permutations that chance is estimated from.
        seed: random seed of the ensemble and of the permutations.
        source: the paper and its sections.
        ensemble: settings of the ensemble.
        ensemble_member: training of its members.
        costs: compute that the ensemble took.
    """

    format: Literal["datapruning.influence"] = "datapruning.influence"
    tests: Annotated[int, Field(ge=0)]
    top: Annotated[int, Field(ge=1)]
    pairs: str
    least_memorization: float
    least_influence: float
    members: int
    considered: int
    num_pairs_found: int
    kept: int
    expected: float | None = None
    expected_sd: float | None = None
    permutations: int
    seed: int
    source: str
    ensemble: EnsembleConfig
    ensemble_member: TrainConfig
    costs: ComputeCost


class PredProbsMetadata(Metadata):
    """Metadata of predicted probabilities.

    Attributes:
        seed: random seed of the ensemble.
        ensemble: settings of the ensemble.
        ensemble_member: training of its members.
    """

    format: Literal["datapruning.probs"] = "datapruning.probs"
    seed: int
    ensemble: EnsembleConfig
    ensemble_member: TrainConfig


class CommonFields(TypedDict):
    """Return the fields of `Metadata` for the dataset, version and time of a file."""

    dataset: str
    spec: str
    fingerprint: str
    total: int
    package_version: str
    created: str


def common_fields(data: DatasetIdentity) -> CommonFields:
    """Return the fields that the metadata of every file made now from `data` begin with."""
    return {
        "dataset": data.name, "spec": data.spec, "fingerprint": data.fingerprint, "total": data.total,
        "package_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


M = TypeVar("M", bound=Metadata)


def parse_metadata(kind: type[M], value: Mapping[str, Any], path: Path) -> M:
    """Check the metadata of a file.

    Args:
        kind: the metadata that are expected.
        value: the JSON data that the file holds.
        path: of the file, for messages.

    Raises:
        InvalidFile: a file of another kind or version, an unknown or missing key, or a value of a wrong type.
    """
    expected = str(kind.model_fields["format"].default)
    if value.get("format") != expected:
        name = expected.removeprefix("datapruning.").replace("_", " ")
        raise InvalidFile(f"{path} is no {name} file: its format is {value.get('format')!r}, not '{expected}'")
    if value.get("version") != VERSION:
        raise InvalidFile(
            f"{path} has format version {value.get('version')!r}; this datapruning ({__version__}) reads version {VERSION}"
        )
    return parse_record(kind, value, f"the metadata of {path}")


def check_same_dataset(what: str, meta: Metadata, data: DatasetIdentity) -> None:
    """Refuse a file that was made from another dataset.

    Args:
        what: the file in words, as in "this subset".
        meta: its metadata.
        data: the dataset that it is used with.

    Raises:
        IncompatibleInputs: with both names and sizes; of one folder of images, with the options that have to agree.
    """
    if meta.fingerprint != data.fingerprint:
        verb = "were" if what.startswith("these ") else "was"
        raise IncompatibleInputs(
            f"{what} {verb} made from another dataset: {meta.dataset} ({meta.total:,} samples, fingerprint "
            f"{meta.fingerprint[:12]}), not from {data.name} ({data.total:,} samples, {data.fingerprint[:12]})"
            f"{dataset_mismatch_hint(meta.dataset, meta.spec, data)}"
        )


def dataset_mismatch_hint(name: str, spec: str | None, data: DatasetIdentity) -> str:
    """Return why a dataset of this name and `spec` (empty: not known) may differ from `data`: the end of a message.

    The same image files make several datasets, as the settings of the dataset say. Empty where nothing can be said.
    """
    if name != data.name or not isinstance(data, Dataset):
        return ""
    differences = differing_options(spec, data.spec) if spec else []
    if differences:
        return f": {'; '.join(differences)}"
    if spec and data.source:
        return ": the options are the same, so images or labels have changed since"
    if data.content_hash:
        return "; give the same holdout and image size everywhere, unless the images themselves have changed"
    return ""
