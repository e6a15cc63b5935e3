"""`score_all`: several scorers at once; workers may train the members of an ensemble."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from datapruning.api.score import resolve_score_paths, resolve_scorers, score, scores_path, with_evidence_model
from datapruning.errors import InvalidValue
from datapruning.evidence.estimate import print_evidence_cost
from datapruning.experiments.workers.launcher import LOCAL, Launcher, find_launcher, open_worker_context
from datapruning.experiments.workers.members import check_members, train_members
from datapruning.runs.opening import DatasetOrContext, OpenSettings
from datapruning.runs.process_group import current_group
from datapruning.scorers import get_scorer


def score_all(
    data: DatasetOrContext,
    scorers: str | Sequence[str] = "all",
    *,
    model: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    jobs: int | None = None,
    launcher: str | Launcher = LOCAL,
    data_root: str | Path | None = None,
    download: bool = False,
    **settings: Unpack[OpenSettings],
) -> dict[str, Path]:
    """Score every training sample by several scorers, and return the scores file of each.

    Args:
        data: A dataset, its name or path, or a context.
        scorers: Names, as a list or separated by commas; "all": every scorer.
        model: The network of proxies and members of an ensemble; default: the recipe's.
        seed: Random seed of the evidence.
        out: A file if it ends in .npz, else a folder; default: named files in the workspace.
        jobs: Workers that train the members of an ensemble; None: this process alone.
        launcher: Where workers run: "local", "slurm", "ray", or one that `find_launcher` made with settings.
        data_root: Folder of the torchvision datasets.
        download: Whether torchvision may download a dataset that is missing.
        settings: See `OpenSettings`; not beside a context.

    Raises:
        InvalidValue, UnknownName, InvalidFile, OutputExists, MissingPackage: The user's mistakes, before anything is
            trained.
    """
    names = resolve_scorers(scorers)
    resolve_score_paths(Path, names, out)  # before the dataset is opened
    resolved_launcher = find_launcher(launcher) if isinstance(launcher, str) else launcher
    use_workers = jobs is not None or resolved_launcher.is_remote
    if use_workers and current_group() is not None:
        raise InvalidValue("under torchrun its processes share the work: leave jobs and launcher out")
    context = open_worker_context(data, resolved_launcher, data_root, download, **settings)
    context = with_evidence_model(context, model)
    selected = [get_scorer(name) for name in names]
    if use_workers:
        check_members(context, selected, 1 if jobs is None else jobs)
    paths = resolve_score_paths(lambda name: scores_path(context, name, seed), names, out)
    print_evidence_cost(context, selected)
    if use_workers:
        train_members(context, seed, jobs=jobs or 1, launcher=resolved_launcher, data_root=data_root)
    for name, path in paths.items():
        score(context, name, seed=seed, out=path)
    return paths
