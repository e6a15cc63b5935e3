"""The grid of a sweep: what is asked for, checked, and the rows it comes to.

Each list may also be text, separated by commas, as on the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datapruning.config.kd import check_kd_weight
from datapruning.data.batching import LEAST
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.parse import listed, once
from datapruning.experiments.sweep.variants import Variants, variant_words
from datapruning.utils.fraction import keeping, kept_count, parse_fraction

AUTO = "auto"
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Grid:
    """What is asked for.

    Attributes:
        total: N.
        fractions: as text, the same for the same number ("0.1" for 0.10).
        scorers: names.
        kd_weights: numbers in 0..1, or "auto".
        seeds: whole numbers.
        teachers: hash of a teacher's weights -> what people call it; empty: the recipe's own teacher.
        variants: how students are pruned, and learn from themselves.
    """

    total: int
    fractions: tuple[str, ...]
    scorers: tuple[str, ...]
    kd_weights: tuple[float | str, ...]
    seeds: tuple[int, ...]
    teachers: Mapping[str, str]
    variants: Variants = field(default_factory=Variants)

    def kept(self, fraction: str) -> int:
        """How many samples a fraction keeps."""
        return kept_count(fraction, self.total)

    def rows(self) -> list[dict[str, Any]]:
        """One configuration a row, seed by seed, so that a sweep cut short has whole seeds.

        Rows that are one and the same come once: at KD weight 0 no teacher matters (`teacher` None), and where everything
        is kept no scorer does (`scorer` None). With the recipe's own teacher `teacher` is None as well. Rows of a variant
        have its settings besides.
        """
        rows, variants = [], self.variants.each()
        for seed in self.seeds:
            for fraction in self.fractions:
                everything = self.kept(fraction) == self.total
                for scorer in [None] if everything else self.scorers:
                    for weight in self.kd_weights:
                        teachers: Iterable[str | None] = (self.teachers or [None]) if weight != 0 else [None]
                        shared = {"fraction": fraction, "scorer": scorer, "kd_weight": weight}
                        for teacher in teachers:
                            rows += [{**shared, "teacher": teacher, "seed": seed, **variant} for variant in variants]
        return rows

    def label(self, config: Mapping[str, Any]) -> str:
        """A row in words."""
        scorer = f"{config['scorer']}, " if config["scorer"] else ""
        teacher = f", teacher {self.teachers.get(config['teacher'], config['teacher'])}" if config["teacher"] else ""
        kept = keeping(self.kept(config["fraction"]), self.total)
        variant = f", {words}" if (words := variant_words(config)) else ""
        return f"{scorer}{kept}, KD weight {weight_text(config['kd_weight'])}{teacher}{variant}, seed {config['seed']}"


def make_grid(
    total: int,
    fractions: str | Sequence[float | str],
    scorers: str | Sequence[str],
    kd_weights: str | Sequence[float | str],
    seeds: str | int | Sequence[int],
    teachers: Mapping[str, str] | None = None,
) -> Grid:
    """Check what is asked for.

    Raises:
        InvalidValue: a list that is empty or names something twice, or a value outside what is allowed.
    """
    kept: dict[str, str] = {}
    for given in listed(fractions, "fractions"):
        text = canonical_fraction(str(given))
        count = kept_count(text, total)
        if count < LEAST:
            raise InvalidValue(
                f"fraction {given} of {total:,} samples keeps {count}; a student needs at least {LEAST}, keep more"
            )
        same = [other for other in kept if kept_count(other, total) == count]
        if same:
            raise InvalidValue(f"fractions {kept[same[0]]} and {given} both mean {keeping(count, total)}; leave one out")
        kept[text] = str(given)
    return Grid(
        total,
        tuple(kept),
        once(listed(scorers, "scorers"), str, "scorer"),
        once(listed(kd_weights, "KD weights"), _weight, "KD weight"),
        _seeds(seeds),
        dict(teachers or {}),
    )


def canonical_fraction(given: str) -> str:
    """One text for one number: "0.10" and "1/10" are "0.1"; "1/3", which no decimal says, stays."""
    exact = parse_fraction(given)
    text = repr(float(exact)).removesuffix(".0")
    return text if parse_fraction(text) == exact else str(exact)


def weight_text(weight: float | str) -> str:
    """0.90 as "0.9", "auto" as it is."""
    return weight if isinstance(weight, str) else f"{weight:g}"


def _weight(given: float | str) -> float | str:
    if given == AUTO:
        return AUTO
    try:
        return check_kd_weight(float(given)) + 0.0  # -0.0 is 0
    except ValueError:
        raise InvalidValue(f"the KD weight is a number in 0..1, or auto; got '{given}'") from None


def _seeds(given: str | int | Sequence[int]) -> tuple[int, ...]:
    count = given.strip() if isinstance(given, str) else given
    if isinstance(count, int) or (isinstance(count, str) and "," not in count):
        number = _whole(count, "--seeds is how many (3 means 0,1,2), or a list of them")
        if number < 1:
            raise InvalidValue(f"the sweep is empty: {number} seeds; 3 means 0,1,2, and a single one is named as '7,'")
        return tuple(range(number))
    return once(listed(count, "seeds"), _seed, "seed")


def _seed(given: int | str) -> int:
    number = _whole(given, "a seed is a whole number")
    if not 0 <= number <= MAX_SEED:
        raise InvalidValue(f"a seed lies in 0..{MAX_SEED}; got {number}")
    return number


def _whole(given: int | str, rule: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise InvalidValue(f"{rule}; got '{given}'") from None
