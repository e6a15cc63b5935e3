"""Numbers and lists as text, the same everywhere in the report."""

import statistics
from collections.abc import Iterable, Sequence

MINUS = "\N{MINUS SIGN}"
"""As wide as the plus sign, unlike a hyphen."""


def mean_std(values: Sequence[float], sign: bool = False) -> str:
    """The mean and, of two values and more, their standard deviation, as in "98.33 ± 0.39"; of no values "".

    With `sign` the mean is written with its sign, as a difference is.
    """
    if not values:
        return ""
    mean = statistics.mean(values)
    text = signed(mean) if sign else f"{mean:.2f}"
    return f"{text} ± {statistics.stdev(values):.2f}" if len(values) > 1 else text


def signed(points: float) -> str:
    """A difference with its sign, as in "+1.25"."""
    return f"{round(points, 2) + 0.0:+.2f}".replace("-", MINUS)


def percent(fraction: float) -> str:
    """As in "30%" for 0.3."""
    return f"{100 * fraction:.3g}%"


def format_sparsity(share: float) -> str:
    """A share of removed weights, as in "95%" and "99.95%"; never rounded up to all of them."""
    return f"{100 * share:.6g}%"


def format_flops(flops: float | None) -> str:
    """Floating-point operations, as in "1.25 PFLOP" and, for None, "unknown"."""
    return "unknown" if flops is None else "{} {}FLOP".format(*_scaled(flops))


def format_seconds(seconds: float | None) -> str:
    """As in "6.2"; from a hundred on without decimals, as in "7,425"; "unknown" for None."""
    if seconds is None:
        return "unknown"
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def si_number(value: float) -> str:
    """Three digits and a unit, as in "1.2M" for 1200000."""
    return "".join(_scaled(value))


def _scaled(value: float) -> tuple[str, str]:
    """Three digits, and the prefix of a unit: "1.2" and "M" for 1200000."""
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            return f"{value / 10**power:.3g}", prefix
    return f"{value:.3g}", ""


def join_words(words: Iterable[str]) -> str:
    """As in "a, b and c"."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def slug(text: str) -> str:
    """Text as a part of a file name: lower case letters and digits, hyphens between."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split()) or "x"
