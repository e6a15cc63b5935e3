"""HTML from the templates in `templates/`, which escape all text that is not markup already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from datapruning.errors import InvalidValue, OutputExists
from datapruning.report import format as formats
from datapruning.utils.plural import plural
from datapruning.version import __version__

if TYPE_CHECKING:
    from datapruning.report.figures import Figure

GENERATOR = "datapruning report"
"""Marks a file as a page of this package, which another page may replace."""
FILTERS = (
    formats.mean_std, formats.signed, formats.percent, formats.format_sparsity, formats.format_flops, formats.format_seconds,
    formats.si_number, formats.join_words, plural,
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A section of the page: its anchor, its title, its HTML and the figures in it."""

    anchor: str
    title: str
    html: Markup
    figures: Sequence[Figure] = field(default_factory=list)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("datapruning.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.globals |= {"inf": math.inf}
    return environment


def render(template: str, **values: object) -> Markup:
    """The HTML of a template, a file in `templates/`. Text among the values is escaped, `Markup` is not."""
    return Markup(_environment().get_template(template).render(**values))


def render_page(title: str, lead: Markup, sections: Sequence[Section]) -> str:
    """A self-contained HTML page: a header, links to the sections where there are several, and the sections."""
    made = f"Made by datapruning {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    return render("page.html", title=title, lead=lead, sections=sections, generator=GENERATOR, made=made)


def check_page(path: Path, parameter: str) -> None:
    """Refuse a path where no page may be written.

    Raises:
        InvalidValue: It does not end in .html.
        OutputExists: Something else than a page of this package is there.
    """
    if path.suffix not in (".html", ".htm"):
        raise InvalidValue(f"{path} is to be a page; name a file that ends in .html", parameter=parameter)
    if path.is_dir() or (path.exists() and not _is_our_page(path)):
        raise OutputExists(f"{path} exists and is no page of datapruning; name another file", parameter=parameter)


def _is_our_page(path: Path) -> bool:
    with path.open("rb") as file:
        return f'name="generator" content="{GENERATOR}"'.encode() in file.read(1000)
