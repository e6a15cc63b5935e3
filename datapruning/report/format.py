"""Numbers in words and figures, the same everywhere in the report."""

from __future__ import annotations


def spread(mean: float, sd: float | None, n: int, sign: bool = False) -> str:
    """As in "98.33 ± 0.39"; of a single run "98.33"."""
    text = signed(mean) if sign else f"{mean:.2f}"
    return text if sd is None or n < 2 else f"{text} ± {sd:.2f}"


def signed(points: float) -> str:
    """As in "+1.25", with a minus sign that is as wide as the plus."""
    return f"{round(points, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")


def count(samples: float | None) -> str:
    """As in "57,520" and "12.3 million"."""
    if samples is None:
        return "unknown"
    return f"{samples / 1e6:,.1f} million" if samples >= 1e7 else f"{samples:,.0f}"


def seconds_text(seconds: float | None) -> str:
    """As in "6.2"; without decimals where they say nothing, "7,425"."""
    if seconds is None:
        return "unknown"
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def listed(items: list[str]) -> str:
    """As in "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def plural(number: int, one: str, many: str = "") -> str:
    """As in "1 run" and "2 runs"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def removed_text(share: float) -> str:
    """A share of weights that were removed, as in "95%" and "99.95%": never rounded up to all of them."""
    return f"{100 * share:.6g}%"
