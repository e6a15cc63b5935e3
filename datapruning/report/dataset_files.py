"""Scores files and lists of label issues of the runs' dataset: those that the user names, and those in the workspaces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from datapruning.artifacts.label_issues import LabelIssues, load_label_issues
from datapruning.artifacts.metadata import ScoresMetadata
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, first_line
from datapruning.io.npz import read_meta
from datapruning.report.groups import pivot, scorer_order
from datapruning.report.run_records import RunRecord
from datapruning.utils.hashing import config_hash

MAX_SCORES_FILES = 8
"""Scores files that are compared and shown."""
MAX_DISCOVERED_LISTS = 4
"""Lists of label issues from workspaces that are shown."""
NOT_IDENTIFYING = ("created", "package_version", "costs", "spec")
T = TypeVar("T", Scores, LabelIssues)
LeftOut = list[tuple[str, str]]
"""(path, reason) of what is not in the report."""


@dataclass(frozen=True)
class ScoresFile:
    """A scores file with a short name: the scorer's, and the difference from other files of the same scorer."""

    name: str
    path: Path
    scores: Scores

    @property
    def is_random(self) -> bool:
        """Whether all scores are equal."""
        return self.scores.scorer == "random"


def _load_files(
    named: Sequence[Path], pattern: str, workspaces: Sequence[Path], load: Callable[[Path], T], fingerprint: str
) -> tuple[list[tuple[Path, T]], list[tuple[Path, T]], LeftOut]:
    """The files of a dataset: named ones, those below `pattern` in workspaces, hidden ones aside, and unreadable ones.

    Raises:
        InvalidFile, IncompatibleInputs: A named file cannot be read, or is of another dataset.
    """
    loaded = [(path, load(path)) for path in named]
    for path, content in loaded:
        if content.meta.fingerprint != fingerprint:
            raise IncompatibleInputs(f"{path} is of another dataset ({content.meta.dataset}) than the runs")
    folder, _, name = pattern.partition("/")
    discovered, left_out = list[tuple[Path, T]](), LeftOut()
    for path in (path for root in workspaces for path in sorted((root / folder).rglob(f"[!.]{name}"))):
        try:
            content = load(path)
        except InvalidFile as error:
            left_out.append((str(path), first_line(error)))
        else:
            discovered += [(path, content)] if content.meta.fingerprint == fingerprint else []
    return loaded, discovered, left_out


def find_scores(named: Sequence[Path], workspaces: Sequence[Path], fingerprint: str) -> tuple[list[ScoresFile], LeftOut]:
    """Scores files that the user named, those in the folders `scores` of workspaces and those next to them, each once.

    Of a named folder, its scores files of the dataset are taken. At most `MAX_SCORES_FILES`, one of them random: every
    scorer comes before the second seed of any.

    Raises:
        InvalidFile, IncompatibleInputs: A named file is no scores file, or one of another dataset.
        InvalidValue: There is no scores file of the dataset in a named folder.
    """
    in_folders = [file for folder in named if folder.is_dir() for file in _named_folder(folder, fingerprint)]
    named_files = [path for path in named if not path.is_dir()]
    loaded, discovered, left_out = _load_files(named_files, "scores/*.npz", workspaces, load_scores, fingerprint)
    next_to_workspaces = [file for root in workspaces for file in _files_next_to(root, fingerprint)]
    every_file = [*loaded, *in_folders, *discovered, *next_to_workspaces]
    distinct = [copies[0] for copies in pivot(every_file, lambda file: _identity(file[1].meta)).values()]
    distinct.sort(key=lambda file: (file[1].meta.seed or 0, str(file[0])))
    ranked = [
        (rank, file)
        for scorer, files in pivot(distinct, lambda file: file[1].scorer).items()
        for rank, file in enumerate(files[:1] if scorer == "random" else files)
    ]
    chosen = [file for _, file in sorted(ranked, key=lambda item: item[0])[:MAX_SCORES_FILES]]
    names = name_scores([scores.meta for _, scores in chosen])
    files = [ScoresFile(name, path, scores) for name, (path, scores) in zip(names, chosen, strict=True)]
    return sorted(files, key=lambda file: (scorer_order(file.scores.scorer), file.name)), left_out


def _named_folder(folder: Path, fingerprint: str) -> list[tuple[Path, Scores]]:
    files = _scores_in(folder, fingerprint)
    if not files:
        raise InvalidValue(f"{folder} holds no scores file (.npz) of the runs' dataset", parameter="scores")
    return files


def _files_next_to(workspace: Path, fingerprint: str) -> list[tuple[Path, Scores]]:
    """Scores files in the folder of a workspace, and in the folder `scores` there: where `--out` puts them."""
    parent = workspace.resolve().parent
    is_workspace = (workspace / "students").is_dir() or (workspace / "sweeps").is_dir()
    return [*_scores_in(parent, fingerprint), *_scores_in(parent / "scores", fingerprint)] if is_workspace else []


def _scores_in(folder: Path, fingerprint: str) -> list[tuple[Path, Scores]]:
    """The readable scores files of a dataset in a folder, which may hold much else."""
    files = []
    for path in sorted(folder.glob("[!.]*.npz")):
        try:
            meta = read_meta(path, "a scores")
            if meta.get("format") == "datapruning.scores" and meta.get("fingerprint") == fingerprint:
                files.append((path, load_scores(path)))
        except InvalidFile:
            continue
    return files


def name_scores(metas: Sequence[ScoresMetadata]) -> list[str]:
    """Distinct names: with the seed where a scorer has several files, with the settings' hash if need be."""
    scorers, seeds = [meta.scorer for meta in metas], [(meta.scorer, meta.seed) for meta in metas]
    return [
        meta.scorer
        + (f", seed {meta.seed}" if scorers.count(meta.scorer) > 1 else "")
        + (f", {_identity(meta)[:4]}" if seeds.count((meta.scorer, meta.seed)) > 1 else "")
        for meta in metas
    ]


def _identity(meta: ScoresMetadata) -> str:
    """Equal for equal scores, whenever and by whichever version they were made."""
    return config_hash({key: value for key, value in meta.to_json().items() if key not in NOT_IDENTIFYING}, 16)


def runs_selected_by(file: ScoresFile, runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs whose subset was selected by these scores."""
    identity = _identity(file.scores.meta)
    return [run for run in runs if run.subset_scores is not None and _identity(run.subset_scores) == identity]


def find_label_issues(
    named: Sequence[Path], workspaces: Sequence[Path], fingerprint: str
) -> tuple[list[tuple[Path, LabelIssues]], LeftOut]:
    """Lists that the user named, and in the folders `label-issues` of workspaces the longest list of each other scorer.

    Raises:
        InvalidFile, IncompatibleInputs: A named file is no list of label issues, or one of another dataset.
    """
    loaded, discovered, left_out = _load_files(named, "label-issues/*.csv", workspaces, load_label_issues, fingerprint)
    shown = {issues.scorer for _, issues in loaded}
    by_scorer = pivot((file for file in discovered if file[1].scorer not in shown), lambda file: file[1].scorer)
    longest = [max(by_scorer[scorer], key=lambda file: len(file[1])) for scorer in sorted(by_scorer)]
    return [*loaded, *longest[:MAX_DISCOVERED_LISTS]], left_out
