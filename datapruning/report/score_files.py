"""Scores files of the dataset, and which runs were selected by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.artifacts.metadata import ScoresMetadata
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.report.discover import find_dataset_files
from datapruning.report.groups import pivot, scorer_order
from datapruning.report.run_records import RunRecord
from datapruning.utils.hashing import config_hash

MAX_SCORES_FILES = 8
"""Scores files that are compared and shown."""
NOT_IDENTIFYING = ("created", "package_version", "costs")


@dataclass(frozen=True)
class ScoresFile:
    """A scores file under a short name: the scorer's, and what tells it apart where there are several of one scorer."""

    name: str
    path: Path
    scores: Scores

    @property
    def is_random(self) -> bool:
        """Whether the order says nothing."""
        return self.scores.scorer == "random"


def find_scores(
    named: Sequence[Path], workspaces: Sequence[Path], fingerprint: str
) -> tuple[list[ScoresFile], Sequence[tuple[str, str]]]:
    """Scores files that the user named, and those in the folders `scores` of workspaces.

    Returns:
        The files, each content once, and (path, reason) of those in the workspaces that cannot be read.

    Raises:
        InvalidFile, IncompatibleInputs: A named file is no scores file, or one of another dataset.
    """
    files = find_dataset_files(named, workspaces, "scores/*.npz", load_scores, fingerprint)
    distinct = pivot([*files.named, *files.discovered], lambda file: _identity(file[1].meta)).values()
    by_scorer = pivot(_select([copies[0] for copies in distinct]), lambda file: file[1].scorer)
    return [
        ScoresFile(name, path, scores)
        for _, members in sorted(by_scorer.items(), key=lambda item: scorer_order(item[0]))
        for name, (path, scores) in sorted(zip(_names(members), members, strict=True), key=lambda item: item[0])
    ], files.unreadable


def _names(files: Sequence[tuple[Path, Scores]]) -> list[str]:
    """Distinct names of files of one scorer: with the seed if there are several, with the settings' hash if need be."""
    seeds = [scores.meta.seed for _, scores in files]
    names = [scores.scorer if len(files) == 1 else f"{scores.scorer}, seed {scores.meta.seed}" for _, scores in files]
    hashes = [_identity(scores.meta)[:4] for _, scores in files]
    return [
        name if seeds.count(seed) == 1 else f"{name}, {key}" for name, seed, key in zip(names, seeds, hashes, strict=True)
    ]


def _identity(meta: ScoresMetadata) -> str:
    """Equal for equal scores, whenever and by whichever version they were made."""
    return config_hash({key: value for key, value in meta.to_json().items() if key not in NOT_IDENTIFYING}, 16)


def _select(files: Sequence[tuple[Path, Scores]]) -> list[tuple[Path, Scores]]:
    """At most `MAX_SCORES_FILES`, one of them random: every scorer comes before the second seed of any."""
    by_scorer = pivot(sorted(files, key=lambda f: (f[1].meta.seed or 0, str(f[0]))), lambda file: file[1].scorer)
    ranked = [
        (rank, file) for scorer, members in by_scorer.items()
        for rank, file in enumerate(members[:1] if scorer == "random" else members)
    ]  # fmt: skip
    return [file for _, file in sorted(ranked, key=lambda item: item[0])[:MAX_SCORES_FILES]]


def runs_selected_by(file: ScoresFile, runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs whose subset was selected by these scores."""
    identity = _identity(file.scores.meta)
    return [run for run in runs if (scores := run.subset_scores) is not None and _identity(scores) == identity]
