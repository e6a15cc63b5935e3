"""The grid of a sweep: its dimensions, checked, and the students it contains.

Each list may also be text, separated by commas, as on the command line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from datapruning.config.kd import check_kd_weight
from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.config.training import TrainConfig
from datapruning.data.batching import MIN_BATCH_SIZE
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.spec import AUTO, BASE, StudentSpec, format_weight
from datapruning.training.schedules import planned_samples
from datapruning.utils.fraction import describe_kept, kept_count, parse_fraction

MAX_SEED = 2**32 - 1
Key = TypeVar("Key")


@dataclass(frozen=True)
class Grid:
    """The dimensions of a sweep.

    Attributes:
        total: N.
        fractions: As text, the same for the same number ("0.1" for 0.10).
        scorers: Names.
        kd_weights: Numbers in 0..1, or "auto".
        seeds: Random seeds.
        teachers: Hash of a teacher's weights -> its name in tables; empty: the recipe's own teacher.
        variants: A student of each way of pruning and of self-distillation.
    """

    total: int
    fractions: tuple[str, ...]
    scorers: tuple[str, ...]
    kd_weights: tuple[float | str, ...]
    seeds: tuple[int, ...]
    teachers: Mapping[str, str]
    variants: tuple[StudentSpec, ...] = (BASE,)

    @property
    def prunings(self) -> set[SparsityConfig | None]:
        """The ways in which students are pruned; None: as the sweep's recipe has it."""
        return {variant.pruning for variant in self.variants}

    @property
    def self_distillations(self) -> set[SelfDistillConfig | None]:
        """The ways in which students are self-distilled; None: as the sweep's recipe has it."""
        return {variant.self_distillation for variant in self.variants}

    def kept(self, fraction: str) -> int:
        """Number of samples that a fraction keeps."""
        return kept_count(fraction, self.total)

    def samples_seen(self, training: TrainConfig, spec: StudentSpec) -> int:
        """Number of samples that a student sees, with repeats."""
        return planned_samples(training, self.kept(spec.fraction), self.total)

    def students(self) -> list[StudentSpec]:
        """List the students, seed by seed, so that a sweep that was stopped has complete seeds.

        Equal students are listed once: at KD weight 0 no teacher matters (`teacher` None), and where everything is kept
        no scorer does (`scorer` None). With the recipe's own teacher `teacher` is None as well.
        """
        return [
            replace(variant, fraction=fraction, scorer=scorer, kd_weight=weight, teacher=teacher, seed=seed)
            for seed in self.seeds
            for fraction in self.fractions
            for scorer in ((None,) if self.kept(fraction) == self.total else self.scorers)
            for weight in self.kd_weights
            for teacher in ((self.teachers or (None,)) if weight != 0 else (None,))
            for variant in self.variants
        ]

    def label(self, spec: StudentSpec) -> str:
        """Describe a student in a line."""
        scorer = f"{spec.scorer}, " if spec.scorer else ""
        teacher = f", teacher {self.teachers.get(spec.teacher, spec.teacher)}" if spec.teacher else ""
        kept = describe_kept(self.kept(spec.fraction), self.total)
        variant = f", {spec.variant_text}" if spec.variant_text else ""
        return f"{scorer}{kept}, KD weight {format_weight(spec.kd_weight)}{teacher}{variant}, seed {spec.seed}"


def make_grid(
    total: int,
    fractions: str | Sequence[float | str],
    scorers: str | Sequence[str],
    kd_weights: str | Sequence[float | str],
    seeds: str | int | Sequence[int],
    teachers: Mapping[str, str] | None = None,
) -> Grid:
    """Check the dimensions of a sweep.

    Raises:
        InvalidValue: A list is empty or names something twice, or a value is out of its range.
    """
    spellings: dict[str, str] = {}
    for given in parse_list(fractions, "fractions"):
        text = canonical_fraction(str(given))
        count = kept_count(text, total)
        if count < MIN_BATCH_SIZE:
            raise InvalidValue(
                f"fraction {given} of {total:,} samples keeps {count}; a student needs at least {MIN_BATCH_SIZE}, keep more"
            )
        same = [other for other in spellings if kept_count(other, total) == count]
        if same:
            raise InvalidValue(
                f"fractions {spellings[same[0]]} and {given} both mean {describe_kept(count, total)}; leave one out"
            )
        spellings[text] = str(given)
    return Grid(
        total,
        tuple(spellings),
        unique(parse_list(scorers, "scorers"), str, "scorer"),
        unique(parse_list(kd_weights, "KD weights"), _parse_weight, "KD weight"),
        _parse_seeds(seeds),
        dict(teachers or {}),
    )


def canonical_fraction(given: str) -> str:
    """Return one text for one number: "0.10" and "1/10" are "0.1"; "1/3", which has no exact decimal, stays."""
    exact = parse_fraction(given)
    text = repr(float(exact)).removesuffix(".0")
    return text if parse_fraction(text) == exact else str(exact)


def _parse_weight(given: float | str) -> float | str:
    if given == AUTO:
        return AUTO
    try:
        return check_kd_weight(float(given)) + 0.0  # -0.0 is 0
    except ValueError:
        raise InvalidValue(f"the KD weight is a number in 0..1, or auto; got '{given}'") from None


def _parse_seeds(given: str | int | Sequence[int]) -> tuple[int, ...]:
    count = given.strip() if isinstance(given, str) else given
    if isinstance(count, int) or (isinstance(count, str) and "," not in count):
        number = _parse_int(count, "seeds are a number of them (3 means 0,1,2), or a list")
        if number < 1:
            raise InvalidValue(f"the sweep is empty: {number} seeds; 3 means 0,1,2, and a single one is named as '7,'")
        return tuple(range(number))
    return unique(parse_list(count, "seeds"), _parse_seed, "seed")


def _parse_seed(given: int | str) -> int:
    number = _parse_int(given, "a seed is a whole number")
    if not 0 <= number <= MAX_SEED:
        raise InvalidValue(f"a seed lies in 0..{MAX_SEED}; got {number}")
    return number


def _parse_int(given: int | str, rule: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise InvalidValue(f"{rule}; got '{given}'") from None


def parse_list(given: str | Sequence[Any], what: str) -> list[Any]:
    """Return the items of a list, or of a text in which commas separate them.

    Raises:
        InvalidValue: There are no items; `what` says of what.
    """
    items = [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else list(given)
    if not items:
        raise InvalidValue(f"the sweep is empty: it names no {what}")
    return items


def unique(items: Sequence[Any], read: Callable[[Any], Key], what: str) -> tuple[Key, ...]:
    """Apply `read` to each item.

    Raises:
        InvalidValue: Two items give the same value; `what` says what they are.
    """
    given: dict[Key, Any] = {}
    for item in items:
        key = read(item)
        if key in given:
            spellings = "" if str(given[key]) == str(item) else f" (as {given[key]} and as {item})"
            raise InvalidValue(f"{what} {item} is given twice{spellings}; leave one out")
        given[key] = item
    return tuple(given)
