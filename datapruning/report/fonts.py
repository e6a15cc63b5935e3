"""Installed fonts for names in any script; matplotlib's own has Latin, Greek, Cyrillic, Hebrew and Arabic."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

NO_TEXT = ("Last Resort", "STIX", "cm")
"""Beginnings of the names of fonts that matplotlib brings for mathematics, or as boxes in the place of letters."""
NORMAL_WEIGHT = 400


@cache
def choose_fonts(first: str, characters: str) -> tuple[tuple[str, ...], str]:
    """(the font families that draw the characters, `first` before others; the characters that no installed font draws)."""
    missing = set(map(ord, characters)) - _code_points(findfont(FontProperties(family=[first])))
    families = [first]
    while missing:
        covered = {font.name: missing & _code_points(font.fname) for font in _text_fonts()}
        best = max(covered, key=lambda name: len(covered[name]), default=None)
        if best is None or not covered[best]:
            break
        families.append(best)
        missing -= covered[best]
    return tuple(families), "".join(map(chr, sorted(missing)))


def _text_fonts() -> list[FontEntry]:
    """The upright fonts of normal weight, one of a family, by name."""
    fonts = {
        font.name: font
        for font in sorted(fontManager.ttflist, key=lambda font: font.fname)
        if font.style == "normal" and font.weight == NORMAL_WEIGHT and not font.name.startswith(NO_TEXT)
    }
    return [fonts[name] for name in sorted(fonts)]


@cache
def _code_points(path: str) -> frozenset[int]:
    """What an outline font draws; nothing of one that cannot be read or has pixels, as emoji in colour."""
    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@contextmanager
def without_font_messages() -> Iterator[None]:
    """Keep matplotlib from saying, of each font, that it has no bold letters."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
