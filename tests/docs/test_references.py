"""Files and modules named in docstrings, comments and documentation exist."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapruning.utils.system import PROJECT_ROOT

FOLDERS = ("datapruning", "scorers", "teachers", "recipes", "tests", "benchmarks", "scripts", "docs", "examples")
CODE = sorted(path for top in FOLDERS for path in (PROJECT_ROOT / top).rglob("*.py"))
PAGES = [
    PROJECT_ROOT / "README.md", PROJECT_ROOT / "CONTRIBUTING.md", PROJECT_ROOT / "mkdocs.yml",
    *sorted((PROJECT_ROOT / "docs").glob("*.md")), *sorted((PROJECT_ROOT / ".github").rglob("*.md")),
]  # fmt: skip
FILES = [path for top in FOLDERS for path in (PROJECT_ROOT / top).rglob("*") if "__pycache__" not in path.parts]
FILES += [path for path in PROJECT_ROOT.iterdir() if path.is_file()]
NAMES = {path.relative_to(PROJECT_ROOT).as_posix() for path in FILES} | {
    f"datapruning/{path.relative_to(PROJECT_ROOT).as_posix()}"
    for path in FILES
    if path.relative_to(PROJECT_ROOT).parts[0] in ("scorers", "teachers", "recipes")
}
FILE = re.compile(r"(?<![\w/.:<>{}*-])((?:[\w.-]+/)*[\w-]+\.(?:py|md|sh|yml))(?![\w/])")
FOLDER = re.compile(rf"(?<![\w/.:<>{{}}-])((?:{'|'.join(FOLDERS)})/[\w/-]*+)(?![\w.*{{}}])")
MODULE = re.compile(r"(?<![\w/.-])((?:datapruning|scorers|teachers|recipes|tests|benchmarks)(?:\.(?!md\b|py\b)[a-z_]\w*)+)")
MADE_PAGES = (PROJECT_ROOT / "scripts" / "site_hooks.py").read_text(encoding="utf-8")
NOT_OURS = {
    "mynet.py", "scorers/low_confidence.py", "tests/scorers/test_low_confidence.py", "table.md",
    "generate_importance_score.py",
}  # fmt: skip
"""Files of users, of runs, and of other projects."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text): all lines of a page; comments, docstrings, and page names in messages of code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    with path.open("rb") as file:
        yield from (
            (token.start[0], token.string) for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT
        )
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from enumerate(node.value.value.splitlines(), node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, page) for page in re.findall(r"\bdocs/[\w-]+\.md\b", node.value))


def module_exists(name: str) -> bool:
    """Whether a dotted name is a package, a module, or a word in a module."""
    path = PROJECT_ROOT
    for part in name.split("."):
        module = path if path.suffix else path / "__init__.py"
        if not path.suffix and (path / part).is_dir():
            path /= part
        elif not path.suffix and (path / f"{part}.py").is_file():
            path /= f"{part}.py"
        else:
            return module.is_file() and bool(re.search(rf"\b{part}\b", module.read_text(encoding="utf-8")))
    return True


def file_exists(name: str, path: Path) -> bool:
    """Whether a file named in `path` is in the checkout, is in NOT_OURS, or is a placeholder (NAME.md)."""
    if name in NOT_OURS or Path(name).stem.isupper() or (path.name == "mkdocs.yml" and f'"{name}"' in MADE_PAGES):
        return True
    return any(f"/{known}".endswith(f"/{name}") for known in NAMES) or (path.parent / name).exists()


def dangling(path: Path) -> list[str]:
    """Return the references of a file to missing files and modules."""
    missing = []
    for line, text in texts(path):
        missing += [f"{line}: {name}" for name in FILE.findall(text) if not file_exists(name, path)]
        missing += [
            f"{line}: {name}"
            for name in FOLDER.findall(text)
            if not (PROJECT_ROOT / name).exists() and not name.startswith("benchmarks/runs/")
        ]
        missing += [f"{line}: {name}" for name in MODULE.findall(text) if not module_exists(name)]
    return missing


@pytest.mark.parametrize("path", [*PAGES, *CODE], ids=lambda path: path.relative_to(PROJECT_ROOT).as_posix())
def test_names_of_files_and_modules_are_right(path: Path) -> None:
    assert not dangling(path)


def test_a_wrong_name_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    wrong = (
        "data/voews.py",
        "design.md",
        "datapruning/ioo/",
        "datapruning.io.npz.rite",
        "benchmarks.stepp",
        "tests/test_all.py",
    )
    right = (
        "augment/augmentation.py",
        "docs/faq.md",
        "datapruning/io/",
        "datapruning.io.json",
        "benchmarks.step",
        "NAME.md",
    )
    page.write_text("\n".join((*wrong, *right)), encoding="utf-8")
    assert dangling(page) == [f"{line}: {name}" for line, name in enumerate(wrong, 1)]
    code, gone = tmp_path / "code.py", "/".join(("docs", "gone.md"))
    code.write_text(
        f'"""See `parts.py`."""\n# by io/gone.py\nraise ValueError("see {gone}", "other.py")\n', encoding="utf-8"
    )
    assert sorted(dangling(code)) == ["1: parts.py", "2: io/gone.py", f"3: {gone}"]
