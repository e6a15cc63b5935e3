"""What a search expects before it probes: a linear model of accuracy, fitted to trainings of known outcome.

The best weight, temperature and crops depend on how little is kept, how often it is seen, and on what the teacher says of
it. A teacher that has memorised the kept samples is nearly one-hot on them, so that at T=4 its labels say little more than
the labels do: a high temperature, or crops that it has not seen, bring out what it knows of the other classes. The
coefficients are fitted by `benchmarks/fit_prior.py` (table in benchmarks/results/fit_prior.md, with the trainings they were
fitted on).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidFile
from datapruning.io.json import read_json
from datapruning.runs.training_records import Candidate, Regime
from datapruning.utils.records import Record, parse_record

if TYPE_CHECKING:
    from datapruning.training.losses import SoftLabels

SHIPPED = Path(__file__).with_name("prior.json")
MAX_CONFIDENCE = 0.9999
CHUNK = 1024
MAX_REPEATS = 4
"""Times that a view of an image is seen."""
MAX_LABEL_BYTES = 8 * 2**30


class PriorModel(Record):
    """Coefficients of the expected accuracy, in points, by the name of their term; `fitted_on` says on which trainings.

    `ranges` are those of the features of their regimes: one outside is read as the nearest at the border, for a line that
    was fitted between does not hold for ever.
    """

    coefficients: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    fitted_on: tuple[str, ...]

    def expected(
        self,
        candidates: Sequence[Candidate],
        regime: Regime,
        *,
        recipe_resized: bool,
        teacher_ages: Sequence[float] = (1.0,),
    ) -> NDArray[np.float64]:
        """Expected accuracy of each candidate, float64 [candidates], in points; only differences have a meaning.

        See `terms` for the other arguments.
        """
        values = features(regime, min(teacher_ages))
        for name, (low, high) in self.ranges.items():
            values[name] = min(high, max(low, values[name]))
        earliest = 2 ** -values["early"]
        ages = [max(age, earliest) for age in teacher_ages]
        rows = [terms(candidate, values, recipe_resized=recipe_resized, teacher_ages=ages) for candidate in candidates]
        return np.array([sum(self.coefficients.get(name, 0.0) * value for name, value in row.items()) for row in rows])


def propose(
    path: str, space: Sequence[Candidate], regime: Regime, *, recipe_resized: bool, teacher_ages: Sequence[float] = (1.0,)
) -> tuple[Candidate, NDArray[np.float64]]:
    """The best candidate of a space by the prior of a file (empty: the package's own), and what it expects of all of them.

    Raises:
        InvalidFile: see `read_prior`.
    """
    expected = read_prior(path).expected(space, regime, recipe_resized=recipe_resized, teacher_ages=teacher_ages)
    return space[int(np.argmax(np.round(expected, 9)))], expected


def read_prior(path: str = "") -> PriorModel:
    """The prior of a file, or the package's own.

    Raises:
        InvalidFile: missing or broken, or a term that is not known.
    """
    return _read_prior(Path(path) if path else SHIPPED)


@cache
def _read_prior(path: Path) -> PriorModel:
    prior = parse_record(PriorModel, read_json(path), str(path))
    known_features = features(Regime(kept_per_class=1, epochs=1, agreement=1, confidence=1, wrong_labels=0))
    known_terms = terms(Candidate(weight=0.5, temperature=4.0), known_features, recipe_resized=False)
    for kind, named, known in (("term", prior.coefficients, known_terms), ("feature", prior.ranges, known_features)):
        if unknown := sorted(set(named) - set(known)):
            raise InvalidFile(f"{path}: no {kind} '{unknown[0]}' in the prior; there are: {', '.join(known)}")
    return prior


def features(regime: Regime, earliest: float = 1.0) -> dict[str, float]:
    """What the prior reads from a regime: `kept` samples a class (log10 of 50), how far the teacher has `memorised` them
    (nines of its confidence), the share of labels that it holds to be `wrong`; `early`: halvings of the training of the
    earliest candidate teacher.
    """
    return {
        "kept": math.log10(regime.kept_per_class / 50),
        "memorised": -math.log10(1 - min(regime.confidence, MAX_CONFIDENCE)),
        "wrong": regime.wrong_labels,
        "early": -math.log2(earliest),
    }


def terms(
    candidate: Candidate,
    regime_features: Mapping[str, float],
    *,
    recipe_resized: bool,
    teacher_ages: Sequence[float] = (1.0,),
) -> dict[str, float]:
    """The terms of the linear model by name; see `features`.

    `recipe_resized`: whether the recipe's own views are random resized crops. `teacher_ages`: of each candidate teacher, the
    share of its training after which its weights were kept.
    """
    kept, memorised, wrong = (regime_features[name] for name in ("kept", "memorised", "wrong"))
    weight = candidate.weight
    temperature = weight * math.log(candidate.temperature / 4) / math.log(5)  # it has no effect on labels alone
    early = -weight * math.log2(teacher_ages[candidate.teacher])
    resized, cutmix = float(recipe_resized or "resized" in candidate.augmentation), float("cutmix" in candidate.augmentation)
    return {
        "weight": weight, "weight kept": weight * kept, "weight wrong": weight * wrong,
        "weight memorised": weight * memorised,
        "weight^2": weight**2, "weight^2 kept": weight**2 * kept,
        "temperature": temperature, "temperature kept": temperature * kept,
        "temperature memorised": temperature * memorised, "temperature^2": temperature**2,
        "early": early, "early memorised": early * memorised,
        "resized": resized, "resized weight": resized * weight,
        "resized weight memorised": resized * weight * memorised,
        "resized temperature": resized * temperature,
        "cutmix": cutmix, "cutmix kept": cutmix * kept, "cutmix memorised": cutmix * memorised,
    }  # fmt: skip


def measure_regime(
    labels: SoftLabels, targets: NDArray[np.int64], ids: NDArray[np.int64], epochs: float, classes: int
) -> Regime:
    """The regime of a student that sees the samples `ids` int64 for so many epochs.

    `labels` are the teacher's for their first view, `targets` int64 [N] the labels of the dataset. Several teachers count as
    the mean of their probabilities. Labels that are wrong at random lie anywhere in the teacher's ranking of the other
    classes, labels of samples that it has not learned yet near its top: the share of wrong ones is that of labels in the
    lower half of the classes, over the share of the other classes that are there.
    """
    from torch import softmax

    correct = confidence = low = 0.0
    for part in np.split(ids, range(CHUNK, len(ids), CHUNK)):
        probs = softmax(labels[part, 0], dim=2).mean(0).numpy()
        correct += float((probs.argmax(1) == targets[part]).sum())
        confidence += float(probs.max(1).sum())
        of_label = np.take_along_axis(probs, targets[part][:, None], axis=1)
        low += float(((probs > of_label).sum(1) >= math.ceil(classes / 2)).sum())
    wrong = low / len(ids) * (classes - 1) / (classes // 2)
    return Regime(
        kept_per_class=len(ids) / classes, epochs=epochs, agreement=round(correct / len(ids), 6),
        confidence=round(min(1.0, confidence / len(ids)), 6), wrong_labels=round(min(1.0, wrong), 6),
    )  # fmt: skip


def proposed_views(epochs: int, recipe_views: int, bytes_of_view: int) -> int:
    """Views of each image for a student of so many epochs: each is seen at most four times, if their soft labels fit.

    At 200 epochs 64 views were 3.3 points better than 16 (10% of CIFAR-100, ResNet-18), at 60 epochs 60 were no better than
    16 (20 classes of CIFAR-100, fastnet32). Labels of a quarter of the epochs cost a twelfth of the training, with a teacher
    of the student's size. `bytes_of_view`: of the soft labels of one view of the kept samples.
    """
    wanted: int = 2 ** math.ceil(math.log2(max(1, epochs / MAX_REPEATS)))
    affordable = max(1, MAX_LABEL_BYTES // max(1, bytes_of_view))
    return max(recipe_views, min(wanted, affordable))
