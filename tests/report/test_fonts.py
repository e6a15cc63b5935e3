"""Names in any script in figures and pages: drawn where a font has their letters, otherwise told apart by code points."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.axes import Axes
from matplotlib.font_manager import fontManager
from PIL import Image

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.report.figures import Figure, plot, set_ticks
from datapruning.report.fonts import choose_fonts
from datapruning.report.sections.histograms import class_figure
from datapruning.report.write import _write_figures
from tests.conftest import CommandResult
from tests.report.test_report import check_stands_alone

NOT_IN_MATPLOTLIB = {
    "Chinese": "日本語", "Japanese": "かな", "Korean": "한국", "Devanagari": "हिन्दी", "Thai": "ไทย", "emoji": "🦊🐕",
    "private": "\ue000",
}  # fmt: skip
SCRIPTS = NOT_IN_MATPLOTLIB | {
    "Arabic": "العربية", "Hebrew": "עברית", "Greek": "Ωμέγα", "Cyrillic": "Ёж", "markup": "<b>$x_1$ & \\",
}  # fmt: skip


@pytest.fixture
def without_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the fonts that matplotlib brings are installed."""
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if "mpl-data" in font.fname])
    choose_fonts.cache_clear()
    yield
    choose_fonts.cache_clear()


def draw_name(name: str) -> Figure:
    """Draw a name as a title, as a label in the legend, and as the label of a tick."""

    def paint(axes: Axes) -> None:
        axes.plot([1, 2], [0, 1], label=name)
        set_ticks(axes, [1, 2], ["other", name], name)

    return plot("name", name, name, paint)


@pytest.mark.usefixtures("without_fonts")
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_drawn_without_a_warning(script: str) -> None:
    name = SCRIPTS[script]
    figure = draw_name(name)  # a warning of a missing glyph is an error in tests
    text = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert figure.svg.decode().count(f">{text}<") >= 4, "in SVG text stays text"
    assert set(figure.escaped) == (set(name) if script in NOT_IN_MATPLOTLIB else set())


@pytest.mark.usefixtures("without_fonts")
def test_two_names_never_look_alike() -> None:
    names = ["日", "本", "🦊", "🐕", "\ue000"]
    pictures = {np.asarray(Image.open(io.BytesIO(draw_name(name).png))).tobytes() for name in names}
    assert len(pictures) == len(names)


@pytest.fixture
def font(tmp_path: Path, without_fonts: None) -> str:
    """Install a font with the letters 日 and 本 alone."""
    pen = TTGlyphPen(None)
    for x, y in ((0, 0), (0, 700), (600, 700)):
        (pen.lineTo if (x, y) != (0, 0) else pen.moveTo)((x, y))
    pen.closePath()
    builder, glyphs = FontBuilder(1000), [".notdef", "sun", "root"]
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord("日"): "sun", ord("本"): "root"})
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (700, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Small Han", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "small.ttf")
    fontManager.addfont(tmp_path / "small.ttf")
    return "Small Han"


def test_an_installed_font_draws_what_it_has(font: str, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_fonts("DejaVu Sans", "a日本语") == (("DejaVu Sans", font), "语")
    caplog.clear()
    figure = draw_name("a日本")
    assert not caplog.records, "no talk of weights"
    assert figure.escaped == ""
    assert figure.svg.decode().count(font) >= 4
    assert draw_name("日本语").escaped == "语"


@pytest.mark.usefixtures("without_fonts")
def test_a_report_says_once_what_no_font_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.arange(12) % 3
    figures = [class_figure(scorer, {0.5: np.arange(6)}, labels, ["日本", "Ёж", "🦊"]) for scorer in ("el2n", "aum")]
    _write_figures(tmp_path / "figures", figures)
    assert capsys.readouterr().err == (
        "no installed font draws 日本🦊: PNG figures have code points (\\u65e5), SVG and the page have text\n"
    )
    _write_figures(tmp_path / "figures", [class_figure("el2n", {0.5: np.arange(6)}, labels, ["a", "b", "c"])])
    assert capsys.readouterr().err == ""


def test_pages_have_names_in_every_script(
    dprune: Callable[..., CommandResult], small_dataset: Dataset, tmp_path: Path
) -> None:
    names = list(SCRIPTS.values())
    labels = np.arange(small_dataset.total) % len(names)
    arrays = {"train_images": small_dataset.train.images, "test_images": small_dataset.train.images[:12]}
    np.savez(tmp_path / "動物.npz", **arrays, train_labels=labels, test_labels=labels[:12], class_names=np.array(names))
    train = replace(small_dataset.train, labels=labels)
    test = replace(small_dataset.test, images=train.images[:12], labels=labels[:12])
    data = Dataset("動物", train, test, tuple(names), str(tmp_path / "動物.npz"))
    meta = ScoresMetadata(**common_fields(data), scorer="aum", seed=0)
    Scores(np.arange(data.total, dtype=np.float32), meta).save(tmp_path / "aum.npz")
    command = dprune("inspect", "aum.npz", "--out", "page.html")
    assert command.code == 0, command.err
    html = check_stands_alone(tmp_path / "page.html")
    for name in names:
        assert name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in html, name
    assert "<b>$x" not in html
