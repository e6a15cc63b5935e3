"""A recording: the folder that holds the evidence of several training runs, and how scorers read it.

`recording.json` names the dataset and its size (see `RecordingManifest`); `labels.npy` is int64 [N]. A run is a folder
`run-000`: `train_passes/` (statistics of the training pass, a row an epoch), `early/` (one row: an evaluation pass after
the first epochs), `final/` (the same after the last epoch), `features.npy` (float16 [N, width]: the input of the last
layer in that pass), `runner_up.npy` (int32 [N]: the most likely class other than the label in that pass), and
`done.json` once the run is finished (see `RunManifest`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.evidence.dynamics import EarlyEvaluation, FinalEvaluation, TrainingDynamics
from datapruning.evidence.embeddings import Embeddings
from datapruning.evidence.manifests import DONE, MANIFEST, RecordingManifest, RunManifest
from datapruning.evidence.sample_stats import EVAL_STATISTICS, TRAIN_STATISTICS, SampleStats
from datapruning.io.atomic import atomic_write
from datapruning.io.checksums import check_digest, file_digest
from datapruning.io.json import read_json, write_json
from datapruning.io.memmap import open_checked_memmap
from datapruning.utils.cost import NO_COST, ComputeCost
from datapruning.utils.processes import agree, main_only
from datapruning.utils.records import parse_record

LABELS, FEATURES, RUNNER_UP = "labels.npy", "features.npy", "runner_up.npy"
PASSES = {"train_passes": TRAIN_STATISTICS, "early": ("error_norm",), "final": EVAL_STATISTICS}
RECORD_AGAIN_HINT = "delete its run's folder to have it recorded again"


@dataclass(frozen=True)
class Recording:
    """An open recording."""

    folder: Path
    manifest: RecordingManifest

    @property
    def name(self) -> str:
        """The name of the dataset."""
        return self.manifest.dataset

    @property
    def spec(self) -> str:
        """Empty: a recording knows the name of its dataset alone."""
        return ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the dataset."""
        return self.manifest.fingerprint

    @property
    def total(self) -> int:
        """N, the number of training samples."""
        return self.manifest.total

    def labels(self) -> NDArray[np.int64]:
        """The labels of all training samples, int64 [N].

        Raises:
            InvalidFile: missing, broken, or changed since they were recorded.
        """
        path = self.folder / LABELS
        labels = np.array(open_checked_memmap(path, np.int64, (self.total,), "labels"))
        for _, manifest in self.finished_runs()[:1]:
            if manifest.labels_sha256 is not None:
                check_digest(path, manifest.labels_sha256, "record it again in another folder")
        return labels

    def run_folder(self, number: int) -> Path:
        """The folder of a run."""
        return self.folder / self.run_name(number)

    @staticmethod
    def run_name(number: int) -> str:
        """The name of a run's folder."""
        return f"run-{number:03d}"

    def run_manifest(self, number: int) -> RunManifest | None:
        """The manifest of a run; None while it is not finished.

        Raises:
            InvalidFile: it is broken.
        """
        path = self.run_folder(number) / DONE
        return parse_record(RunManifest, read_json(path), str(path)) if agree(path.exists()) else None

    def finish_run(self, number: int, *, epochs: int, early: bool, final: bool, cost: ComputeCost) -> None:
        """Mark a run as finished: its files do not change any more, and their digests are written down.

        Arguments as in `RunManifest`.
        """
        folder, labels = self.run_folder(number), self.folder / LABELS
        statistics = [path for name in PASSES for path in (folder / name).glob("[!.]*.npy")]
        paths = sorted(path for path in (*statistics, folder / FEATURES, folder / RUNNER_UP) if path.exists())
        manifest = RunManifest(
            epochs=epochs, early=early, final=final, cost=cost,
            sha256={path.relative_to(folder).as_posix(): file_digest(path) for path in paths},
            labels_sha256=file_digest(labels) if labels.exists() else None,
        )  # fmt: skip
        write_json(folder / DONE, manifest.to_json())

    def check_run(self, number: int, prefix: str = "") -> None:
        """Refuse a finished run with files (those whose names begin with `prefix`) that were changed since.

        Raises:
            InvalidFile: naming the first such file.
        """
        manifest = self.run_manifest(number)
        for name, digest in manifest.sha256.items() if manifest else ():
            path = self.run_folder(number) / name
            if name.startswith(prefix) and name.partition("/")[0] in (*PASSES, FEATURES, RUNNER_UP):
                if not path.is_file() or ".." in path.parts:
                    raise InvalidFile(f"{path} is missing; {RECORD_AGAIN_HINT}")
                check_digest(path, digest, RECORD_AGAIN_HINT)

    def stats(self, number: int, name: str) -> SampleStats:
        """The statistics of a run's pass: "train_passes" (a row an epoch), "early" or "final" (one row).

        Those of a finished run are only read.

        Raises:
            InvalidFile: broken, or changed since the run was finished.
        """
        self.check_run(number, name)
        rows = self.manifest.epochs if name == "train_passes" else 1
        writable = self.run_manifest(number) is None
        return SampleStats(self.run_folder(number) / name, rows, self.total, PASSES[name], writable=writable)

    def runs(self) -> list[int]:
        """The numbers of the finished runs."""
        suffixes = sorted(path.parent.name.removeprefix("run-") for path in self.folder.glob(f"run-*/{DONE}"))
        return [int(suffix) for suffix in suffixes if suffix.isdecimal()]

    def finished_runs(self) -> list[tuple[int, RunManifest]]:
        """(number, manifest) of the finished runs.

        Raises:
            InvalidFile: a manifest is broken.
        """
        return [(number, manifest) for number in self.runs() if (manifest := self.run_manifest(number))]

    def complete_runs(self) -> list[tuple[int, RunManifest]]:
        """(number, manifest) of the runs that were trained to the last epoch and recorded on the way.

        A run for its early evaluation alone is none, even where that comes after the last epoch.

        Raises:
            InvalidValue: there are none.
        """
        runs = [run for run in self.finished_runs() if run[1].epochs == self.manifest.epochs and run[1].has_train_passes]
        if not runs:
            raise InvalidValue(
                f"{self.folder} has no run that was trained to the end; ask for one (evidence.full_runs at least 1; in your "
                "own loop, finish())"
            )
        return runs

    def _stats_and_cost(self, runs: list[tuple[int, RunManifest]], name: str) -> tuple[tuple[SampleStats, ...], ComputeCost]:
        cost = sum((manifest.cost for _, manifest in runs), NO_COST)
        return tuple(self.stats(number, name) for number, _ in runs), cost

    def dynamics(self) -> TrainingDynamics:
        """The training dynamics of the complete runs.

        Raises:
            InvalidValue: there are none.
        """
        return TrainingDynamics(*self._stats_and_cost(self.complete_runs(), "train_passes"))

    def final_evaluation(self) -> FinalEvaluation:
        """The evaluation passes of the complete runs after the last epoch.

        Raises:
            InvalidValue: there are none.
        """
        runs = [run for run in self.complete_runs() if run[1].final]
        if not runs:
            raise InvalidValue(
                f"{self.folder} has no evaluation pass after the last epoch; "
                "record one (start_final_evaluation() in your own loop)"
            )
        return FinalEvaluation(*self._stats_and_cost(runs, "final"))

    def early_evaluation(self) -> EarlyEvaluation:
        """The early evaluation passes of all finished runs that have one.

        Raises:
            InvalidValue: there are none.
        """
        runs = [run for run in self.finished_runs() if run[1].early]
        if not runs or self.manifest.early_epoch is None:
            raise InvalidValue(f"{self.folder} has no evaluation pass at an early epoch, which EL2N is read from")
        stats, cost = self._stats_and_cost(runs, "early")
        return EarlyEvaluation(stats, self.manifest.early_epoch, cost)

    def features(self) -> NDArray[np.floating[Any]]:
        """Penultimate features, float16 [N, width]; see `embeddings`."""
        return self.embeddings().features

    def embeddings(self) -> Embeddings:
        """The embeddings of the first finished run that has them.

        Raises:
            InvalidValue: no run has them.
        """
        for number, manifest in self.finished_runs():
            path = self.run_folder(number) / FEATURES
            if path.exists():
                self.check_run(number, FEATURES)
                features = open_checked_memmap(path, np.float16, (self.total, "width"), "embeddings")
                return Embeddings(np.asarray(features), self.labels(), self.manifest.seed, manifest.cost)
        raise InvalidValue(
            f"{self.folder} has no embeddings; they are recorded after the last epoch of a run: "
            "scoring by knn makes a recording that has them"
        )

    def runner_up_classes(self) -> NDArray[np.int64] | None:
        """The most likely class other than the label after the last epoch of the first run that recorded it, int64 [N].

        None: no run recorded it, because there was no evaluation pass after the last epoch.

        Raises:
            InvalidFile: broken, or of another shape.
        """
        for number in self.runs():
            path = self.run_folder(number) / RUNNER_UP
            if path.exists():
                self.check_run(number, RUNNER_UP)
                classes = open_checked_memmap(path, np.int32, (self.total,), "classes")
                if classes.min() < 0:
                    raise InvalidFile(f"{path} has a class below 0; {RECORD_AGAIN_HINT}")
                return classes.astype(np.int64)
        return None

    def label_prob(self, epochs: int | None = None) -> NDArray[np.float64]:
        """Mean probability of the label over the complete runs and the first `epochs` epochs (None: all), float64 [N]."""
        return self.dynamics().average(lambda probability: probability.mean(0), "label_prob", epochs=epochs)


def create_recording(folder: Path, manifest: RecordingManifest) -> Recording:
    """Make a new recording, or open the one in `folder` if it has the same manifest.

    Raises:
        InvalidFile: the existing manifest is broken.
        IncompatibleInputs: the folder is a recording of something else; names the first key that differs.
    """
    if not agree((folder / MANIFEST).exists()):
        write_json(folder / MANIFEST, manifest.to_json())
    recording = open_recording(folder)
    existing = dict(recording.manifest)
    for key, value in manifest:
        if existing[key] != value:
            raise IncompatibleInputs(f"{folder} is a recording with {key} {existing[key]}, not {value}; name another folder")
    return recording


def open_recording(folder: str | Path) -> Recording:
    """Open an existing recording.

    Raises:
        InvalidFile: the folder is not a recording, or its manifest is broken.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise InvalidFile(f"{folder} is not a recording: it has no {MANIFEST} (dprune score makes one)")
    return Recording(Path(folder), parse_record(RecordingManifest, read_json(path), str(path)))


@main_only
def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write one `.npy`, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)
