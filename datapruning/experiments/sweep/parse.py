"""Lists as the command line gives them: text with commas between the items, or a sequence; no item twice."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from datapruning.errors import InvalidValue

Key = TypeVar("Key")


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
