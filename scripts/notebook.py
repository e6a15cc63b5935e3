"""Notebooks of docs/ as pages: their text, and their code in blocks."""

from __future__ import annotations

import json
from pathlib import Path


def read_cells(path: Path) -> list[tuple[str, str]]:
    """The cells of a notebook: ("markdown" or "code", its text) of each."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


def notebook_page(path: Path) -> str:
    """The page of a notebook in Markdown."""
    texts = [text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in read_cells(path)]
    return "\n\n".join(texts) + f'\n\nThis page as a notebook: <a href="{path.name}" download>{path.name}</a>.\n'
