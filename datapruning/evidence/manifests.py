"""The manifests of a recording: `recording.json` of the folder and `done.json` of each of its runs."""

from typing import Annotated, Literal

from pydantic import Field

from datapruning.utils.cost import ComputeCost
from datapruning.utils.records import Record

MANIFEST, DONE = "recording.json", "done.json"
NO_FINGERPRINT = "not fingerprinted: "
"""Prefix of the fingerprint of a dataset that is known by name alone."""
Positive = Annotated[int, Field(ge=1)]


class RecordingManifest(Record):
    """What every run of a recording has in common.

    `total` is N, the number of training samples; `epochs` those of a run that trains to the end; `early_epoch` how many
    come before the early evaluation pass (None: the runs have none); `seed` that of the first run. `device` ("cpu" or
    "cuda") and `precision` ("fp32" or "bf16") are of the training passes; None: of a loop of the user's own.
    """

    format: Literal["datapruning.recording"] = "datapruning.recording"
    version: Literal[1] = 1
    dataset: str
    fingerprint: str
    total: Positive
    epochs: Positive
    early_epoch: Positive | None = None
    seed: int = 0
    device: str | None = None
    precision: Literal["fp32", "bf16"] | None = None


class RunManifest(Record):
    """What is known of a finished run of `epochs` epochs, and whether it has the `early` and the `final` evaluation pass.

    `cost` is of training and evaluation; `sha256` has the SHA-256 (hex) of each file of arrays, by its path relative to the
    run's folder, `labels_sha256` that of the recording's labels (None: they were not recorded).
    """

    epochs: Positive
    early: bool
    final: bool
    cost: ComputeCost
    sha256: dict[str, str]
    labels_sha256: str | None = None

    @property
    def has_train_passes(self) -> bool:
        """Whether its training passes were recorded, and not its early evaluation alone."""
        return any(name.startswith("train_passes/") for name in self.sha256)
