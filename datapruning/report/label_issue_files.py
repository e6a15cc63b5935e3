"""Lists of likely wrong labels near the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.artifacts.label_issues import Suspects, load_suspects
from datapruning.report.discover import of_dataset

MOST = 4
"""Lists that are shown, at most."""


@dataclass(frozen=True)
class SuspectsFile:
    """A list and where it lies."""

    path: Path
    suspects: Suspects


def find_suspects(
    named: Sequence[Path], roots: Sequence[Path], fingerprint: str
) -> tuple[list[SuspectsFile], list[tuple[str, str]]]:
    """Lists of the dataset: those that were named, and of those in a folder `suspects` of `roots` the longest a scorer.

    Returns:
        the lists, at most `MOST` beside the named ones, and (path, why) of those in the folders that were left out.

    Raises:
        InvalidFile, IncompatibleInputs: one that was named is no list of suspects, or one of another dataset.
    """
    asked, lying, left_out = of_dataset(named, roots, "suspects/*.csv", load_suspects, fingerprint)
    found = [SuspectsFile(path, suspects) for path, suspects in asked]
    longest: dict[str, SuspectsFile] = {}
    for path, suspects in lying:
        other = longest.get(suspects.scorer)
        if other is None or len(suspects) > len(other.suspects):
            longest[suspects.scorer] = SuspectsFile(path, suspects)
    known = {file.suspects.scorer for file in found}
    others = sorted((f for f in longest.values() if f.suspects.scorer not in known), key=lambda f: f.suspects.scorer)
    return found + others[:MOST], left_out
