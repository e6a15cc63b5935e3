"""Selection: from scores to a subset. Every strategy here is nested in the fraction for one scores file and one seed."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import BadValue, UnknownName
from datapruning.fraction import kept_count, parse_fraction
from datapruning.hashing import shuffled
from datapruning.meta import new_meta
from datapruning.scores import Scores
from datapruning.subsets import KIND, Subset

Balance = Literal["none", "class"]
STRATEGIES = ("top", "random")
RANDOM_KEY = 0x5E1EC7


def check_balance(balance: str) -> None:
    """Refuse a name that is no balance.

    Raises:
        UnknownName: the nearest is named.
    """
    if balance not in ("none", "class"):
        raise UnknownName("balance", balance, ("none", "class"))


def ranked(scores: Scores, strategy: str, seed: int) -> NDArray[np.int64]:
    """All ids int64 [N], those to keep first in front. Equal scores: the lower id first.

    Raises:
        UnknownName: no such strategy.
    """
    if strategy == "top":
        return np.argsort(-scores.values, kind="stable")
    if strategy == "random":
        return shuffled(np.arange(len(scores.values)), RANDOM_KEY, seed)
    raise UnknownName("strategy", strategy, STRATEGIES)


def select(
    scores: Scores,
    fraction: float | str,
    *,
    strategy: str = "top",
    balance: Balance = "none",
    labels: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Subset:
    """Keep floor(f*N + 1/2) samples, or that rule inside each class (at least one) with `balance="class"`.

    Args:
        scores: what to rank by; `strategy="random"` takes only their dataset.
        fraction: the share that is kept, 0 < f <= 1.
        strategy: "top" of the score, or uniformly at "random" from `seed`.
        balance: "none", or "class", which needs `labels`.
        labels: int64 [N].
        seed: of "random".

    Raises:
        BadValue: a bad fraction, one so small that nothing is kept, or balance without labels.
        UnknownName: no such strategy.
    """
    exact = parse_fraction(fraction)
    check_balance(balance)
    order = ranked(scores, strategy, seed)
    if balance == "class":
        if labels is None:
            raise BadValue("balance 'class' needs the labels of the training set")
        kept = _per_class(order, labels, exact)
    else:
        count = kept_count(exact, len(order))
        if count == 0:
            raise BadValue(
                f"fraction {fraction} of {len(order):,} samples keeps nothing; the least is {0.5 / len(order):.3g}"
            )
        kept = order[:count]
    meta = new_meta(
        KIND,
        _Origin(scores),
        scorer=scores.scorer if strategy == "top" else "random",
        fraction=float(exact),
        kept=len(kept),
        strategy=strategy,
        balance=balance,
        seed=seed,
        scores=dict(scores.meta),
    )
    return Subset(np.sort(kept), meta)


def _per_class(order: NDArray[np.int64], labels: NDArray[np.int64], fraction: Fraction) -> NDArray[np.int64]:
    """The front of each class's own ranking: nested in f, because each class is."""
    of_ranked = labels[order]
    fronts = []
    for label in np.unique(labels):
        mine = order[of_ranked == label]
        fronts.append(mine[: max(1, kept_count(fraction, len(mine)))])
    return np.concatenate(fronts)


class _Origin:
    """The dataset that a scores file names, for the subset's own meta."""

    def __init__(self, scores: Scores) -> None:
        self.name = str(scores.meta["dataset"])
        self.fingerprint = str(scores.meta["fingerprint"])
        self.total = int(scores.meta["total"])
