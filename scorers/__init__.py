"""Scorers, one a file: evidence in, one number a sample out, higher = keep first.

To add one, copy a similar file and change it; it is found by its name. See docs/scorers.md.
"""

import importlib
import pkgutil
from importlib.metadata import entry_points

from datapruning.artifacts.scorer import ENTRY_POINTS, Scorer
from datapruning.errors import DataPruningError, UnknownName


def find_scorers() -> dict[str, Scorer]:
    """All scorers by name: those in this folder, and those that installed packages name as entry points.

    Raises:
        DataPruningError: two scorers of one name, or an entry point that is no scorer.
    """
    scorers: dict[str, Scorer] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, Scorer):
                _add(scorers, value, module.name)
    for point in entry_points(group=ENTRY_POINTS):
        value = point.load()
        if not isinstance(value, Scorer):
            raise DataPruningError(f"entry point '{point.name}' ({point.value}) is no scorer; decorate it with @scorer")
        _add(scorers, value, point.value)
    return scorers


def _add(scorers: dict[str, Scorer], scorer: Scorer, source: str) -> None:
    if scorers.setdefault(scorer.name, scorer) is not scorer:
        raise DataPruningError(f"two scorers are named '{scorer.name}'; the second one comes from {source}")


def get_scorer(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        UnknownName: there is none; the nearest is named.
    """
    scorers = find_scorers()
    if name not in scorers:
        raise UnknownName("scorer", name, scorers)
    return scorers[name]
