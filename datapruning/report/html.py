"""HTML from plain data: everything that is text is escaped here, and nowhere else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from datapruning.report.figures import Drawing


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its title, its HTML and the figures in it."""

    anchor: str
    title: str
    body: Markup
    drawings: list[Drawing] = field(default_factory=list)


def text(value: object) -> Markup:
    """`value` as HTML; markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """`<name ...>content</name>`; `class_` is class, None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(content)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(between.join(text(part) for part in parts))


def paragraph(*content: object, class_: str | None = None) -> Markup:
    """A paragraph."""
    return tag("p", *content, class_=class_)


def bullets(items: Iterable[object]) -> Markup:
    """A list."""
    return tag("ul", *(tag("li", item) for item in items))


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    numbers: Sequence[int] = (),
    label: str = "",
    breaks: Sequence[int] = (),
) -> Markup:
    """A table that scrolls sideways where it does not fit.

    Args:
        head: of the columns.
        rows: a sequence of cells each.
        numbers: columns that are aligned to the right.
        label: what the table is, for screen readers.
        breaks: rows with which something new begins.
    """

    def cells(name: str, row: Sequence[object]) -> Markup:
        return join(tag(name, cell, class_="number" if i in numbers else None) for i, cell in enumerate(row))

    body = (tag("tr", cells("td", row), class_="new" if i in breaks else None) for i, row in enumerate(rows))
    whole = tag("table", tag("thead", tag("tr", cells("th", head))), tag("tbody", *body))
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=label or None)


def figures(drawings: Iterable[Drawing]) -> Markup:
    """Small multiples: as many beside each other as fit."""
    return tag("div", *(tag("figure", Markup(d.inline), id=f"fig-{d.name}") for d in drawings), class_="figures")


def folded(summary: object, *content: object) -> Markup:
    """Content behind a line that opens it; printed open."""
    return tag("details", tag("summary", summary), *content)
