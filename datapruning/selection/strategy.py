"""A strategy: a rule that keeps a given number of a pool of samples, with its source and its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datapruning.selection.settings import Setting, Settings, resolve

Positions = NDArray[np.int64]


class EvidenceSource(Protocol):
    """The evidence that strategies read from a recording (`datapruning.evidence.recording.Recording`)."""

    @property
    def total(self) -> int:
        """N, the number of training samples."""
        ...

    def label_prob(self, epochs: int | None = None) -> NDArray[np.float64]:
        """Mean probability of the label over the runs and their first `epochs` epochs (None: all), float64 [N]."""
        ...

    def features(self) -> NDArray[np.float16]:
        """Penultimate features, float16 [N, dim]."""
        ...


@dataclass(frozen=True)
class Pool:
    """The samples among which a rule chooses: all of them, or those of one class.

    Attributes:
        ids: int64 [n], rising.
        values: their scores, float64 [n], higher = keep first.
        count: number of samples to keep, 1..n.
        fraction: the requested fraction.
        seed: random seed of draws.
        settings: all settings of the strategy.
        evidence: the evidence of these ids, [n] or [n, dim]; None: the strategy reads none.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float64]
    count: int
    fraction: Fraction
    seed: int
    settings: Settings
    evidence: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Strategy:
    """A strategy and its description.

    Attributes:
        name: its name.
        summary: what it keeps, in one line.
        source: the paper and the section.
        nested: whether the subset of a smaller fraction lies inside that of a larger one (same scores, seed, settings).
        choose: the rule: the `pool.count` positions in the pool that are kept, each once, in any order.
        settings: its settings.
        needs_finite_scores: whether it computes with the scores, which then have to be finite, and does not only rank them.
        evidence_kind: the kind of evidence that it reads; "": none.
        read_evidence: evidence, settings -> one row a sample, [N] or [N, dim]; None: it reads no evidence.
        check: refuses pools that it cannot choose from, before it chooses from any.
    """

    name: str
    summary: str
    source: str
    nested: bool
    choose: Callable[[Pool], Positions]
    settings: tuple[Setting, ...] = ()
    needs_finite_scores: bool = False
    evidence_kind: str = ""
    read_evidence: Callable[[EvidenceSource, Settings], NDArray[Any]] | None = None
    check: Callable[[Sequence[Pool]], None] | None = None

    def resolve(self, given: Mapping[str, object] | None) -> Settings:
        """All settings: those given, checked, and the defaults of the others.

        Raises:
            UnknownName, InvalidValue: no such setting, or a value out of its range.
        """
        return resolve(self.name, self.settings, given or {})

    def describe(self) -> list[tuple[str, str]]:
        """(property, text) of everything that a user needs to know."""
        nested = "yes: the subset of a smaller fraction lies inside that of a larger one" if self.nested else "no"
        settings = [("setting", f"{s.name}={s.default} ({s.meaning}; {s.range})") for s in self.settings]
        reads = f"scores and {self.evidence_kind}, from a recording" if self.evidence_kind else "scores"
        return [("keeps", self.summary), ("nested", nested), ("reads", reads), *settings, ("source", self.source)]
