"""A recording: the folder in which runs of a proxy left their evidence, and what scorers read from it.

`recording.json` says which dataset, how many samples and epochs; `labels.npy` is int64 [N]. A run is a folder `run-000`:
`train_passes/` (a track, a row an epoch: the training pass), `early/` (a track of one row: an evaluation pass after the
first epochs), `final/` (the same after the last epoch), `features.npy` (float16 [N, width]: what the last layer saw in
that pass), `runner_up.npy` (int32 [N]: the class other than the label that it found likeliest then), and `done.json` once it
is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, first_line
from datapruning.evidence.dynamics import EarlyEvaluation, FinalEvaluation, TrainingDynamics
from datapruning.evidence.embeddings import Embeddings, open_features
from datapruning.evidence.sample_stats import EVAL_STATISTICS, TRAIN_STATISTICS, SampleStats
from datapruning.io.atomic import atomic_write
from datapruning.io.checksums import check_digest, file_digest
from datapruning.io.json import read_json, write_json
from datapruning.io.npy import READ_ERRORS, read_array
from datapruning.utils.cost import ComputeCost

MANIFEST, LABELS, DONE = "recording.json", "labels.npy", "done.json"
FEATURES, RUNNER_UP = "features.npy", "runner_up.npy"
PARTS = ("train_passes", "early", "final")
RECORD_AGAIN_HINT = "delete its run's folder to have it recorded again"
NOTE_TYPES: Mapping[str, tuple[type, ...]] = {
    "epochs": (int,), "early": (bool,), "final": (bool,), "samples_seen": (int,), "evaluated": (int,),
    "seconds": (int, float),
}  # fmt: skip
FORMAT = {"format": "datapruning.recording", "version": 1}
EARLY = ("error_norm",)


@dataclass(frozen=True)
class Recording:
    """An open recording. `about` is its manifest: dataset, fingerprint, total, epochs, early_epoch, seed."""

    folder: Path
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the dataset."""
        return str(self.about["dataset"])

    @property
    def fingerprint(self) -> str:
        """Of the dataset."""
        return str(self.about["fingerprint"])

    @property
    def total(self) -> int:
        """N."""
        return int(self.about["total"])

    def labels(self) -> NDArray[np.int64]:
        """int64 [N].

        Raises:
            InvalidFile: missing or broken.
        """
        path = self.folder / LABELS
        try:
            labels = read_array(path)
        except READ_ERRORS as error:
            raise InvalidFile(f"{path} holds no labels: {first_line(error)}") from None
        if labels.dtype != np.int64 or labels.shape != (self.total,):
            raise InvalidFile(f"{path} is {labels.dtype} {list(labels.shape)}; int64 [{self.total}] is needed")
        for number in self.runs()[:1]:
            check_digest(path, (self.done(number) or {}).get("labels"), "record it again in another folder")
        return np.asarray(labels)

    def run_folder(self, number: int) -> Path:
        """Of a run."""
        return self.folder / f"run-{number:03d}"

    def done(self, number: int) -> dict[str, Any] | None:
        """What is noted of a whole run; None while it is not.

        Raises:
            InvalidFile: broken.
        """
        path = self.run_folder(number) / DONE
        if not path.exists():
            return None
        found = read_json(path)
        if any(type(found.get(key)) not in kinds for key, kinds in NOTE_TYPES.items()):
            raise InvalidFile(f"{path} does not say what a run's does; {RECORD_AGAIN_HINT}")
        return found

    def finish(self, number: int, **note: Any) -> None:
        """A run is whole: what it has recorded changes no more, and its digests are noted."""
        folder = self.run_folder(number)
        parts = [
            *(path for part in PARTS for path in (folder / part).glob("[!.]*.npy")),
            folder / FEATURES,
            folder / RUNNER_UP,
        ]
        digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(parts) if path.exists()}
        labels = file_digest(self.folder / LABELS) if (self.folder / LABELS).exists() else None
        write_json(folder / DONE, {**note, "sha256": digests, "labels": labels})

    def check_run(self, number: int, part: str = "") -> None:
        """Refuse a whole run whose files (those whose names begin with `part`) were changed since it was recorded.

        Raises:
            InvalidFile: naming the first.
        """
        digests = (self.done(number) or {}).get("sha256", {})
        for name, expected in digests.items() if isinstance(digests, dict) else ():
            path = self.run_folder(number) / name
            if name.startswith(part) and name.partition("/")[0] in (*PARTS, FEATURES, RUNNER_UP):
                if not path.is_file() or ".." in path.parts:
                    raise InvalidFile(f"{path} is missing; {RECORD_AGAIN_HINT}")
                check_digest(path, expected, RECORD_AGAIN_HINT)

    def train_passes(self, number: int, epochs: int | None = None) -> SampleStats:
        """The training pass of a run of so many epochs (default: all)."""
        rows = self.about["epochs"] if epochs is None else epochs
        return self._sample_stats(number, "train_passes", rows, TRAIN_STATISTICS)

    def _sample_stats(self, number: int, part: str, rows: int, statistics: tuple[str, ...]) -> SampleStats:
        self.check_run(number, part)
        return SampleStats(self.run_folder(number) / part, rows, self.total, statistics)

    def early(self, number: int) -> SampleStats:
        """The early evaluation pass of a run."""
        return self._sample_stats(number, "early", 1, EARLY)

    def final(self, number: int) -> SampleStats:
        """The last evaluation pass of a run."""
        return self._sample_stats(number, "final", 1, EVAL_STATISTICS)

    def runs(self) -> list[int]:
        """Numbers of the runs that are whole."""
        found = sorted(path.parent.name for path in self.folder.glob(f"run-*/{DONE}"))
        return [int(name.removeprefix("run-")) for name in found if name.removeprefix("run-").isdecimal()]

    def complete_runs(self) -> list[tuple[int, dict[str, Any]]]:
        """(number, what is noted) of the runs that went to the end.

        Raises:
            InvalidValue: there is none.
        """
        whole = [(k, done) for k in self.runs() if (done := self.done(k)) and done["epochs"] == self.about["epochs"]]
        if not whole:
            raise InvalidValue(
                f"{self.folder} has no run that was trained to the end; ask for one (evidence.full_runs at least 1; in your "
                "own loop, finish())"
            )
        return whole

    def dynamics(self) -> TrainingDynamics:
        """Of the whole runs.

        Raises:
            InvalidValue: there is none.
        """
        whole = self.complete_runs()
        cost = sum((_cost(done) for _, done in whole), ComputeCost())
        return TrainingDynamics(tuple(self.train_passes(k) for k, _ in whole), cost)

    def final_evaluation(self) -> FinalEvaluation:
        """Of the whole runs that were looked at after the last epoch.

        Raises:
            InvalidValue: there is none.
        """
        looked = [(k, done) for k, done in self.complete_runs() if done["final"]]
        if not looked:
            raise InvalidValue(
                f"{self.folder} has no evaluation pass after the last epoch; "
                "record one (start_final_evaluation() in your own loop)"
            )
        return FinalEvaluation(
            tuple(self.final(k) for k, _ in looked), sum((_cost(done) for _, done in looked), ComputeCost())
        )

    def early_evaluation(self) -> EarlyEvaluation:
        """Of all runs that have the early pass.

        Raises:
            InvalidValue: there is none.
        """
        having = [(k, done) for k in self.runs() if (done := self.done(k)) and done["early"]]
        if not having:
            raise InvalidValue(f"{self.folder} has no evaluation pass at an early epoch, which EL2N is read from")
        cost = sum((_cost(done) for _, done in having), ComputeCost())
        return EarlyEvaluation(tuple(self.early(k) for k, _ in having), int(self.about["early_epoch"]), cost)

    def features(self) -> NDArray[np.float16]:
        """Penultimate features, float16 [N, width]; see `geometry`."""
        return self.embeddings().features

    def embeddings(self) -> Embeddings:
        """Embeddings of the first run that has them.

        Raises:
            InvalidValue: none has.
        """
        for number in self.runs():
            path = self.run_folder(number) / FEATURES
            if path.exists():
                done = self.done(number)
                assert done is not None
                self.check_run(number, FEATURES)
                seed = int(self.about.get("seed", 0))
                return Embeddings(open_features(path, self.total), self.labels(), seed, _cost(done))
        raise InvalidValue(
            f"{self.folder} has no embeddings; they are noted after the last epoch of a whole run: "
            "dprune score --scorer knn makes a recording that has them"
        )

    def runner_up_classes(self) -> NDArray[np.int64] | None:
        """The class, other than the label, that the first whole run found likeliest after its last epoch, int64 [N].

        None: no run noted it, for there was no pass after the last epoch, or it was recorded before this was noted.

        Raises:
            InvalidFile: broken, or of another shape.
        """
        for number in self.runs():
            path = self.run_folder(number) / RUNNER_UP
            if path.exists():
                self.check_run(number, RUNNER_UP)
                try:
                    rivals = read_array(path)
                except READ_ERRORS as error:
                    raise InvalidFile(f"{path} holds no classes: {first_line(error)}") from None
                if rivals.dtype != np.int32 or rivals.shape != (self.total,) or rivals.min() < 0:
                    raise InvalidFile(f"{path} is {rivals.dtype} {list(rivals.shape)}; int32 [{self.total}] is needed")
                return np.asarray(rivals, np.int64)
        return None

    def label_prob(self, epochs: int | None = None) -> NDArray[np.float64]:
        """Mean probability of the label over the whole runs and the first `epochs` epochs (None: all), float64 [N]."""
        return self.dynamics().average(lambda probability: probability.mean(0), "label_prob", epochs=epochs)


def _cost(done: Mapping[str, Any]) -> ComputeCost:
    return ComputeCost(done["samples_seen"], done["evaluated"], done["seconds"])


def create_recording(folder: Path, about: Mapping[str, Any]) -> Recording:
    """Make the folder's manifest, or check that it is the same.

    Raises:
        IncompatibleInputs: the folder is a recording of something else.
    """
    path = folder / MANIFEST
    wanted = {**FORMAT, **about}
    if not path.exists():
        write_json(path, wanted)
    found = open_recording(folder)
    for key, value in wanted.items():
        if found.about.get(key) != value:
            raise IncompatibleInputs(
                f"{folder} is a recording with {key} {found.about.get(key)}, not {value}; name another folder"
            )
    return found


def open_recording(folder: str | Path) -> Recording:
    """A recording that is there.

    Raises:
        InvalidFile: the folder is none, or its manifest is broken.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.exists():
        raise InvalidFile(f"{folder} is no recording: it has no {MANIFEST} (dprune score makes one)")
    about = read_json(path)
    if about.get("format") != FORMAT["format"]:
        raise InvalidFile(f"{path} is not the manifest of a recording")
    if about.get("version") != FORMAT["version"]:
        raise InvalidFile(f"{path} has version {about.get('version')}; this package reads version {FORMAT['version']}")
    for key, kind in {"total": int, "epochs": int, "dataset": str, "fingerprint": str}.items():
        if type(about.get(key)) is not kind or (kind is int and about[key] < 1):
            raise InvalidFile(f"{path}: '{key}' is {about.get(key)!r}")
    return Recording(folder, about)


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write one `.npy`, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)
