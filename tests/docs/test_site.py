"""The documentation site: it builds completely, without warnings and network, and every link target exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import typer.main

import datapruning as dp
from datapruning import recipes
from datapruning.cli.main import app
from datapruning.utils.system import PROJECT_ROOT

pytest.importorskip("material", reason="mkdocs-material is not installed (pip install 'datapruning-toolkit[docs]')")
ROOT = PROJECT_ROOT


class Html(HTMLParser):
    """The links, anchors and paragraphs of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.paragraphs: list[str] = []
        self._inside = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, sources and ids."""
        attributes = dict(attrs)
        self._inside = self._inside or tag == "p"
        if tag == "p":
            self.paragraphs.append("")
        if attributes.get("id"):
            self.anchors.add(str(attributes["id"]))
        if tag == "a" and attributes.get("href"):
            self.links.append(str(attributes["href"]))
        elif attributes.get("src") or (tag == "link" and attributes.get("href")):
            self.fetched.append(str(attributes.get("src") or attributes.get("href")))

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a paragraph."""
        self._inside = self._inside and tag != "p"

    def handle_data(self, data: str) -> None:
        """Collect the text of paragraphs."""
        if self._inside:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site strictly: every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    arguments = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    assert not re.search(r"warning|error", built.stdout + built.stderr, re.IGNORECASE), built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Html]:
    """Parse every page, by path."""
    return {path: Html(path) for path in sorted(site.rglob("*.html"))}


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    for name in (path.stem for path in (ROOT / "docs").glob("*.md")):
        assert (site / f"{name}.html").is_file(), name
    for name in (path.stem for path in (ROOT / "benchmarks" / "results").glob("*.md")):
        assert (site / "results" / f"{name}.html").is_file(), name
    assert all((site / name).is_file() for name in ("index.html", "contributing.html", "changes.html"))


def test_every_page_is_in_the_navigation(site: Path, pages: dict[Path, Html]) -> None:
    reached, waiting = {site / "index.html"}, [site / "index.html"]
    while waiting:
        page = waiting.pop()
        targets = {(page.parent / unquote(urldefrag(link).url)).resolve() for link in pages[page].links}
        new = (targets & pages.keys()) - reached
        reached |= new
        waiting += new
    assert pages.keys() - reached == {site / "404.html"}


def test_links_and_anchors_exist(site: Path, pages: dict[Path, Html]) -> None:
    for path, page in pages.items():
        for link in page.links + page.fetched:
            if re.match(r"(https?|mailto|data):", link) or path.name == "404.html":
                continue
            target_path, anchor = urldefrag(link)
            target = (path.parent / unquote(target_path)).resolve() if target_path else path
            assert target.exists(), (path.relative_to(site), link)
            if anchor and target in pages:
                assert unquote(anchor) in pages[target].anchors | {"__top"}, (path.relative_to(site), link)


def test_pages_fetch_no_external_resource(site: Path, pages: dict[Path, Html]) -> None:
    fetched = {(path.relative_to(site), source) for path, page in pages.items() for source in page.fetched}
    assert [pair for pair in fetched if re.match(r"(https?:)?//", pair[1])] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


def test_no_list_or_table_is_shown_as_a_paragraph(site: Path, pages: dict[Path, Html]) -> None:
    for path, page in pages.items():
        wrong = [text for text in page.paragraphs if re.search(r"^(?:[-*] |\d+\. |\|.*\|$|#+ |```)", text, re.MULTILINE)]
        assert not wrong, (path.relative_to(site), wrong[0])


def test_the_reference_has_every_command_with_every_option(site: Path) -> None:
    text = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    for name, verb in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        start = text.index(f'id="dprune-{name}"')
        part = text[start : text.index("<h2", start) if "<h2" in text[start:] else None]
        for parameter in verb.params:
            assert all(option in part for option in parameter.opts if option.startswith("--")), (name, parameter.name)


def test_the_reference_has_every_public_name_and_every_recipe(pages: dict[Path, Html], site: Path) -> None:
    python = pages[site / "reference" / "api.html"].anchors
    documented = {heading.lower() for heading in python} | {"__version__"}
    missing = [name for name in dp.__all__ if name.lower() not in documented]
    assert missing == ["DataPruningError", "UserError"], "errors are shown as a tree"
    assert {path.stem for path in recipes.FOLDER.glob("*.toml")} <= pages[site / "reference" / "recipes.html"].anchors


def test_the_search_index_has_the_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    locations = {urldefrag(entry["location"]).url for entry in index["docs"]}
    assert {"index.html", "concepts.html", "reference/api.html", "results/cifar_regret.html"} <= locations
