"""Lists as people write them: text with commas between, or a sequence; nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from datapruning.errors import InvalidValue

Key = TypeVar("Key")


def listed(given: str | Sequence[Any], what: str) -> list[Any]:
    """The items of a list, or of a text in which commas separate them.

    Raises:
        InvalidValue: there is none; `what` says of what.
    """
    items = [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else list(given)
    if not items:
        raise InvalidValue(f"the sweep is empty: it names no {what}")
    return items


def once(given: Sequence[Any], read: Callable[[Any], Key], what: str) -> tuple[Key, ...]:
    """What `read` makes of each item.

    Raises:
        InvalidValue: two items come to the same; `what` says what they are.
    """
    found: dict[Key, Any] = {}
    for item in given:
        key = read(item)
        if key in found:
            also = "" if str(found[key]) == str(item) else f" (as {found[key]} and as {item})"
            raise InvalidValue(f"{what} {item} is given twice{also}; leave one out")
        found[key] = item
    return tuple(found)
