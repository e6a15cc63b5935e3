"""Finding student runs: in run folders, sweeps, workspaces, or any folder of run folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile, InvalidValue, first_line
from datapruning.io.json import read_json
from datapruning.io.trial import Failure, Row, read_outcome
from datapruning.report.student import Student, check_result, read_config
from datapruning.runs.run import CONFIG, RESULT

STUDENTS, SWEEPS, STORE = "students", "sweeps", "store.json"


@dataclass
class Found:
    """What lies in the places that were named.

    Attributes:
        students: finished, each once.
        left_out: (where, why) of runs that are not in the report.
        failures: (configuration, error) of rows of a sweep that failed.
        repeated: how many runs were there a second time, with the same settings, subset and seed.
        roots: folders in which scores and evidence may lie.
    """

    students: list[Student] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)
    repeated: int = 0
    roots: list[Path] = field(default_factory=list)


def find_students(places: Sequence[Path]) -> Found:
    """All student runs in `places`.

    Raises:
        InvalidFile: a place that is not there or holds no run. InvalidValue: no finished student in any of them.
    """
    found = Found()
    seen: dict[Any, Path] = {}
    for place in places:
        for student in _students_in(place, found):
            folder = student.folder.resolve()
            if folder in seen.values():
                continue
            found.repeated += student.identity in seen
            if student.identity not in seen:
                seen[student.identity] = folder
                found.students.append(student)
    if not found.students:
        where = ", ".join(str(place) for place in places)
        why = f" ({found.left_out[0][0]}: {found.left_out[0][1]})" if found.left_out else ""
        others = f"; {len(found.left_out)} left out{why}" if found.left_out else ""
        failed = f"; {len(found.failures)} rows failed ({found.failures[0][1]})" if found.failures else ""
        raise InvalidValue(f"no finished student run in {where}{others}{failed}; 'dprune train' makes one")
    above = [place.resolve().parent.parent for place in places if place.resolve().parent.name == SWEEPS]
    roots = [*places, *above, *(root for s in found.students for root in s.workspaces)]
    found.roots = list({root.resolve(): root for root in roots}.values())
    return found


def _students_in(place: Path, found: Found) -> Iterable[Student]:
    if not place.exists():
        raise InvalidFile(f"{place} is not there; name run folders, a sweep or a workspace (dprune-runs)")
    if not place.is_dir():
        raise InvalidFile(f"{place} is a file; name run folders, a sweep or a workspace (dprune-runs)")
    if (place / CONFIG).exists():
        return _run(place, found, named=True)
    if (place / STORE).exists():
        return _sweep(place, found)
    if (place / STUDENTS).is_dir() or (place / SWEEPS).is_dir():
        return _workspace(place, found)
    runs = sorted(path.parent for path in place.glob(f"*/{CONFIG}"))
    if not runs:
        raise InvalidFile(
            f"{place} is no run folder (no {CONFIG}), no sweep (no {STORE}) and no workspace (no {STUDENTS}/): "
            "nothing to report on"
        )
    return (student for run in runs for student in _run(run, found, named=False))


def _workspace(place: Path, found: Found) -> Iterator[Student]:
    for path in sorted((place / STUDENTS).glob(f"*/{CONFIG}")):
        yield from _run(path.parent, found, named=False)
    for path in sorted((place / SWEEPS).glob(f"*/{STORE}")):
        yield from _sweep(path.parent, found)


def _run(folder: Path, found: Found, named: bool) -> Iterator[Student]:
    """The run in `folder`; what is wrong with it is an error only where it was named itself."""
    if not (folder / RESULT).exists():
        found.left_out.append((str(folder), "not finished; the command that began it goes on"))
        return
    try:
        result = read_json(folder / RESULT)
        check_result(result, str(folder))
    except InvalidFile as error:
        if named:
            raise
        found.left_out.append((str(folder), first_line(error)))
        return
    yield Student(folder, result, read_config(folder))


def _sweep(folder: Path, found: Found) -> Iterator[Student]:
    read_json(folder / STORE)
    for path in sorted((folder / "rows").glob("[!.]*.json")):
        try:
            row = read_outcome(path, Row)
            if "error" in row.result:
                found.failures.append((row.config, str(row.result["error"])))
                continue
            check_result(row.result, str(path))
        except InvalidFile as error:
            found.left_out.append((str(path), first_line(error)))
            continue
        run = folder / str(row.result.get("folder", "."))  # an absolute one stays as it is
        yield Student(run, row.result, read_config(run))
    for path in sorted((folder / "failed").glob("[!.]*.json")):
        try:
            failure = read_outcome(path, Failure)
        except InvalidFile as error:
            found.left_out.append((str(path), first_line(error)))
        else:
            found.failures.append((failure.config, failure.error))
    for path in sorted((folder / "running").glob("[!.]*.json")):
        found.left_out.append((str(path), "not finished; the sweep goes on with it"))
