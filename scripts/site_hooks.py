"""The pages of the documentation site that are no Markdown in docs/: README, results, notebooks, and the reference.

A link in a page is a path in the repository, so it works where the repository is read. Here it becomes a link between the
site's pages; where it leads to a file that is no page, its words stay without a link.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebook import notebook_page
from reference import api_page, command_page, recipe_page

ROOT = Path(__file__).parent.parent
RESULTS = "benchmarks/results"
PROJECT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
"""Files of the repository, and the pages they become."""
NOTEBOOKS = {"docs/first-steps.ipynb": "first-steps.md"}
REFERENCE = {"reference/cli.md": command_page, "reference/api.md": api_page, "reference/recipes.md": recipe_page}
FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of committed results to the navigation, and watch the sources of pages."""
    (group,) = [entry["Results"] for entry in config.nav or [] if "Results" in entry]
    group += [f"results/{path.name}" for path in sorted((ROOT / RESULTS).glob("*.md"))]
    config.watch += [str(ROOT / name) for name in (*PROJECT, RESULTS, "datapruning", "scripts")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for name, page in PROJECT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for path in sorted((ROOT / RESULTS).glob("*")):
        if path.suffix in (".md", ".png", ".svg"):
            files.append(File.generated(config, f"results/{path.name}", content=path.read_bytes()))
    for name, page in NOTEBOOKS.items():
        files.append(File.generated(config, page, content=notebook_page(ROOT / name)))
    for page, write in REFERENCE.items():
        files.append(File.generated(config, page, content=write()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    page_path = page.file.src_uri
    origin = {v: k for k, v in PROJECT.items()}.get(page_path) or (
        f"benchmarks/{page_path}" if page_path.startswith("results/") else f"docs/{page_path}"
    )
    known = {file.src_uri for file in files}

    def linked(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        path, _, anchor = target.partition("#")
        target_page = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(origin), path)))
        if target_page in known:
            relative = posixpath.relpath(target_page, posixpath.dirname(page_path) or ".")
            return f"{mark}[{words}]({relative}{'#' + anchor if anchor else ''})"
        if (ROOT / posixpath.dirname(origin) / path).exists():
            return words
        return match.group(0)  # a dead link, which the strict build names

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(linked, part) for part in parts)


def page_of(path: str) -> str:
    """Return the page or asset of a file of the repository."""
    if path in PROJECT or path in NOTEBOOKS:
        return {**PROJECT, **NOTEBOOKS}[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else path.removeprefix("benchmarks/")


def on_page_context(context: dict[str, Any], page: Page, config: MkDocsConfig, nav: Any) -> dict[str, Any]:
    """Remove the edit link, because a page may be generated from several files."""
    page.edit_url = None
    return context
