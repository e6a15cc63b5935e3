"""Finding student runs: in run folders, sweeps, workspaces, or any folder of run folders."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile, InvalidValue, first_line
from datapruning.io.json import read_json
from datapruning.io.trial import FailedTrial, Trial, read_trial_file
from datapruning.report.run_records import RunRecord, read_config
from datapruning.report.selections import name_selections
from datapruning.runs.result import StudentResult
from datapruning.runs.run import CONFIG, RESULT
from datapruning.utils.plural import plural

STUDENTS, SWEEPS, STORE = "students", "sweeps", "store.json"
HINT = "name run folders, a sweep or a workspace (dprune-runs)"


@dataclass
class RunCollection:
    """The runs in some folders.

    Attributes:
        runs: Finished students, each once.
        left_out: (path, reason) of what is not in the report.
        failures: (configuration, error) of trials of a sweep that failed.
        repeated: The number of runs that are the same as one in `runs`, done a second time.
        roots: Folders in which scores and evidence may lie.
    """

    runs: list[RunRecord] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)
    repeated: int = 0
    roots: list[Path] = field(default_factory=list)


def find_runs(paths: Sequence[Path]) -> RunCollection:
    """All student runs in some folders.

    Raises:
        InvalidFile: A path that does not exist or holds no run.
        InvalidValue: There is no finished student in any of them.
    """
    collection = RunCollection()
    folders: dict[tuple[str, ...], Path] = {}
    for run in (run for path in paths for run in _runs_in(path, collection)):
        folder = run.folder.resolve()
        if folder in folders.values():
            continue
        if run.identity in folders:
            collection.repeated += 1
        else:
            folders[run.identity] = folder
            collection.runs.append(run)
    if not collection.runs:
        text = f"no finished student run in {', '.join(map(str, paths))}"
        if collection.left_out:
            text += f"; {len(collection.left_out)} left out ({': '.join(collection.left_out[0])})"
        if collection.failures:
            text += f"; {plural(len(collection.failures), 'trial')} failed ({collection.failures[0][1]})"
        raise InvalidValue(f"{text}; 'dprune train' makes one")
    collection.runs = name_selections(collection.runs)
    sweeps = [path.resolve() for path in paths if path.resolve().parent.name == SWEEPS]
    roots = [*paths, *(sweep.parent.parent for sweep in sweeps), *(r for run in collection.runs for r in run.workspaces)]
    collection.roots = list({root.resolve(): root for root in roots}.values())
    return collection


def _runs_in(path: Path, collection: RunCollection) -> Iterator[RunRecord]:
    """The runs in a run folder, in a sweep, in a workspace, or in the run folders of a folder."""
    if not path.is_dir():
        raise InvalidFile(f"{path} {'is a file' if path.exists() else 'is not there'}; {HINT}")
    if (path / CONFIG).exists():
        yield from _read_run(path, collection, is_named=True)
        return
    if (path / STORE).exists():
        yield from _read_sweep(path, collection)
        return
    is_workspace = (path / STUDENTS).is_dir() or (path / SWEEPS).is_dir()
    configs = sorted((path / STUDENTS if is_workspace else path).glob(f"*/{CONFIG}"))
    if not configs and not is_workspace:
        raise InvalidFile(
            f"{path} is no run folder (no {CONFIG}), no sweep (no {STORE}) and no workspace (no {STUDENTS}/): "
            "nothing to report on"
        )
    for config in configs:
        yield from _read_run(config.parent, collection)
    for store in sorted((path / SWEEPS).glob(f"*/{STORE}")):
        yield from _read_sweep(store.parent, collection)


def _read_run(folder: Path, collection: RunCollection, is_named: bool = False) -> Iterator[RunRecord]:
    """The run in a folder; what is wrong with it is an error only where the user named the run itself."""
    if not (folder / RESULT).exists():
        collection.left_out.append((str(folder), "not finished; the command that started it resumes it"))
        return
    try:
        result = StudentResult.read(folder / RESULT)
    except InvalidFile as error:
        if is_named:
            raise
        collection.left_out.append((str(folder), first_line(error)))
        return
    yield RunRecord(folder, result, read_config(folder))


def _read_sweep(folder: Path, collection: RunCollection) -> Iterator[RunRecord]:
    read_json(folder / STORE)
    for path in sorted((folder / "trials").glob("[!.]*.json")):
        try:
            trial = read_trial_file(path, Trial)
            run_folder = folder / str(trial.result.get("folder", "."))  # an absolute path stays as it is
            result = StudentResult.parse({k: v for k, v in trial.result.items() if k != "folder"}, str(path))
        except InvalidFile as error:
            collection.left_out.append((str(path), first_line(error)))
            continue
        yield RunRecord(run_folder, result, read_config(run_folder))
    for path in sorted((folder / "failed").glob("[!.]*.json")):
        try:
            failure = read_trial_file(path, FailedTrial)
            collection.failures.append((failure.config, failure.error))
        except InvalidFile as error:
            collection.left_out.append((str(path), first_line(error)))
    for path in sorted((folder / "running").glob("[!.]*.json")):
        collection.left_out.append((str(path), "not finished; the sweep resumes it"))
