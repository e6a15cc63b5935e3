"""Selection strategies, one a file: scores (and evidence) in, the kept samples out. See docs/strategies.md."""

import importlib
import pkgutil

from datapruning.errors import DataPruningError, UnknownName
from datapruning.selection.strategy import Strategy


def find_strategies() -> dict[str, Strategy]:
    """All strategies by name: those that the modules of this folder define.

    Raises:
        DataPruningError: two strategies of one name.
    """
    strategies: dict[str, Strategy] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, Strategy) and strategies.setdefault(value.name, value) is not value:
                raise DataPruningError(f"two strategies are named '{value.name}'; the second one is in {module.name}.py")
    return strategies


def get_strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UnknownName: there is none; the nearest is named.
    """
    strategies = find_strategies()
    if name not in strategies:
        raise UnknownName("strategy", name, strategies)
    return strategies[name]
