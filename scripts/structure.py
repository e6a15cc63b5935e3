"""Print the structure of the package: lines of code in every package, and imports that break the layers.

`python scripts/structure.py [ROOT]` reads the package of the checkout at ROOT (this one unless given) without importing it,
and its layers from pyproject.toml. The exit code is 1 where a module imports from a higher layer, or from another package of
its own layer that the contract calls independent ("|"), or where modules or packages import each other in a circle.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp

PACKAGE = "datapruning"
TEMPLATE_SUFFIXES = (".html", ".jinja", ".j2", ".css", ".js")


def read_layers(root: Path) -> list[list[str]]:
    """Read the layers from the contract in pyproject.toml, the highest first: lists of packages and modules."""
    tables = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in tables["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [layer.replace(":", "|").replace(" ", "").split("|") for layer in contract["layers"]]


def source_files(path: Path) -> list[Path]:
    """List the *.py files at or below a path. Symbolic links below it are not followed."""
    return [path] if path.is_file() else sorted(path.resolve().rglob("*.py"))


def count_lines(paths: list[Path]) -> int:
    """Count the lines of text files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def print_lines(root: Path) -> None:
    """Print the lines of *.py per layer, package and subpackage, with totals."""
    total_lines = total_files = 0
    names = ["__init__", *(name for layer in read_layers(root) for name in layer)]
    for name in names:
        path = root / PACKAGE / name
        path = path if path.is_dir() else path.with_suffix(".py")
        files = source_files(path)
        lines = count_lines(files)
        total_lines, total_files = total_lines + lines, total_files + len(files)
        print(f"{path.name:28}{lines:8,}{len(files):6} files" if path.is_dir() else f"{path.name:28}{lines:8,}")
        for folder in sorted(p for p in path.glob("*") if p.is_dir() and (p / "__init__.py").exists()):
            print(f"    {folder.name:24}{count_lines(source_files(folder)):8,}")
    print(f"{'total':28}{total_lines:8,}{total_files:6} files")
    folders = [root / PACKAGE, *(link.resolve() for link in (root / PACKAGE).iterdir() if link.is_symlink())]
    templates = [path for folder in folders for path in folder.rglob("*") if path.suffix in TEMPLATE_SUFFIXES]
    print(f"{'templates and styles':28}{count_lines(templates):8,}{len(templates):6} files")


def find_upward_imports(graph: grimp.ImportGraph, layers: list[list[str]]) -> list[tuple[str, str]]:
    """List (importer, imported) where the imported module is in a higher layer, or in another package of the same layer."""
    level = {name: -number for number, layer in enumerate(layers) for name in layer}
    level[""] = 1  # the root package: nothing inside it imports it

    def unit_of(module: str) -> str:
        return module.removeprefix(PACKAGE).lstrip(".").partition(".")[0]

    pairs = [
        (importer, imported) for importer in graph.modules for imported in graph.find_modules_directly_imported_by(importer)
    ]
    units = [(importer, imported, unit_of(importer), unit_of(imported)) for importer, imported in pairs]
    return sorted((a, b) for a, b, unit_a, unit_b in units if unit_a != unit_b and level[unit_a] <= level[unit_b])


def find_circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """List the circles of a directed graph: the sets of nodes of which each reaches every other one."""

    def reachable(start: str) -> set[str]:
        reached: set[str] = set()
        pending = [start]
        while pending:
            for following in edges[pending.pop()] - reached:
                reached.add(following)
                pending.append(following)
        return reached

    reach = {node: reachable(node) for node in edges}
    circles = {
        tuple(sorted(other for other in reach[node] if node in reach[other])) for node in edges if node in reach[node]
    }
    return [list(circle) for circle in sorted(circles)]


def module_edges(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    """Return direct imports between modules."""
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def sibling_edges(graph: grimp.ImportGraph) -> Iterator[dict[str, set[str]]]:
    """Return, for every package, the imports between its packages and modules, including those of their contents."""
    edges = module_edges(graph)
    for package in graph.modules:
        siblings = graph.find_children(package)
        if not siblings:
            continue
        unit = {module: s for s in siblings for module in (s, *graph.find_descendants(s))}
        between: dict[str, set[str]] = {s: set() for s in siblings}
        for importer, s in unit.items():
            between[s] |= {unit[imported] for imported in edges[importer] if imported in unit} - {s}
        yield between


def main(root: Path) -> int:
    """Print lines, upward imports and circles. Returns the exit code."""
    print_lines(root)
    sys.path.insert(0, str(root))
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    upward = find_upward_imports(graph, read_layers(root))
    circles = find_circles(module_edges(graph))
    package_circles = [circle for edges in sibling_edges(graph) for circle in find_circles(edges)]
    for title, problems in (
        ("upward imports", [f"{importer} imports {imported}" for importer, imported in upward]),
        ("circles of files", [" <-> ".join(circle) for circle in circles]),
        ("circles of packages", [" <-> ".join(circle) for circle in package_circles]),
    ):
        print(f"{title}: {len(problems)}")
        for problem in problems:
            print(f"    {problem}")
    return 1 if upward or circles or package_circles else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
