"""The manifests of a recording: `recording.json` of the folder and `done.json` of each of its runs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.io.json import read_json, write_json
from datapruning.utils.cost import ComputeCost
from datapruning.utils.records import Record, parse_record

MANIFEST, DONE = "recording.json", "done.json"
Positive = Annotated[int, Field(ge=1)]


class RecordingManifest(Record):
    """What every run of a recording has in common.

    Attributes:
        dataset: name of the dataset.
        fingerprint: fingerprint of the dataset.
        total: N, the number of training samples.
        epochs: number of epochs of a run that trains to the end.
        early_epoch: number of epochs before the early evaluation pass; None: the runs have none.
        seed: random seed of the first run.
    """

    format: Literal["datapruning.recording"] = "datapruning.recording"
    version: Literal[1] = 1
    dataset: str
    fingerprint: str
    total: Positive
    epochs: Positive
    early_epoch: Positive | None = None
    seed: int = 0


class RunManifest(Record):
    """What is known of a finished run.

    Attributes:
        epochs: number of epochs that it was trained.
        early: whether it has the early evaluation pass.
        final: whether it has the evaluation pass after the last epoch.
        cost: compute of training and evaluation passes.
        sha256: SHA-256 (hex) of each file of arrays, by its path relative to the run's folder.
        labels_sha256: the same of the recording's labels; None: they were not recorded.
    """

    epochs: Positive
    early: bool
    final: bool
    cost: ComputeCost
    sha256: dict[str, str]
    labels_sha256: str | None = None


def write_manifest(folder: Path, manifest: RecordingManifest) -> None:
    """Write the manifest of a new recording, or check that an existing recording has the same.

    Raises:
        InvalidFile: the existing manifest is broken.
        IncompatibleInputs: the folder is a recording of something else; names the first key that differs.
    """
    if not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, manifest.to_json())
    existing = dict(read_manifest(folder))
    for key, value in manifest:
        if existing[key] != value:
            raise IncompatibleInputs(f"{folder} is a recording with {key} {existing[key]}, not {value}; name another folder")


def read_manifest(folder: Path) -> RecordingManifest:
    """Read the manifest of a recording.

    Raises:
        InvalidFile: the folder is not a recording, or its manifest is broken.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise InvalidFile(f"{folder} is not a recording: it has no {MANIFEST} (dprune score makes one)")
    return parse_record(RecordingManifest, read_json(path), str(path))


def read_run_manifest(folder: Path) -> RunManifest | None:
    """Read the manifest of a run; None while the run is not finished.

    Raises:
        InvalidFile: it is broken.
    """
    path = folder / DONE
    return parse_record(RunManifest, read_json(path), str(path)) if path.exists() else None
