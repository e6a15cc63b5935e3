"""Proxies: networks that are trained on the full data to record evidence."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Loader
from datapruning.evidence.embeddings import to_features
from datapruning.evidence.manifests import DONE, MANIFEST, RecordingManifest
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.recording import FEATURES, LABELS, RUNNER_UP, Recording, create_recording, write_array
from datapruning.evidence.sample_stats import SampleStats, check_class_count, runner_up_class
from datapruning.io.atomic import atomic_write
from datapruning.io.locks import exclusive_lock
from datapruning.io.memmap import create_memmap
from datapruning.io.tensors import save_tensors
from datapruning.models.flops import evaluation_cost
from datapruning.runs.context import Context
from datapruning.training.callbacks import Callback, StopAtTimeLimit
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.evaluate import predict, predict_with_features
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible, resolve_precision
from datapruning.training.schedules import planned_steps
from datapruning.training.trainer import Trainer
from datapruning.utils.console import info
from datapruning.utils.plural import plural
from datapruning.utils.processes import agree, write_by_main

EARLY_WEIGHTS, STATE = "early.safetensors", "checkpoint.safetensors"


def recording_folder(context: Context, seed: int, runs: int) -> Path:
    """The folder of the recording of this context: one to reuse where the first `runs` runs are finished there."""
    recipe = context.recipe
    evidence, training = recipe.evidence, recipe.proxy
    identity: dict[str, Any] = {
        **recipe.identity("proxy", "views"), "early_epoch": evidence.early_epoch, "seed": seed,
        "full_runs": evidence.full_runs, **context.numerics_key.to_json(), **context.init_identity("proxy"), "format": 2,
    }  # fmt: skip
    path = context.artifact_path("evidence", training.model, identity)  # not by the number of runs: more may be added later
    finished = [f"{Recording.run_name(number)}/{DONE}" for number in range(runs)]
    return context.find_artifact(path, MANIFEST, LABELS, *finished)


def proxy_seconds(context: Context, seed: int, runs: int) -> float:
    """Seconds of training and evaluating those of the first `runs` runs of a recording that are not finished."""
    from datapruning.training.speed import forward_seconds, share_left, training_seconds

    training, evidence, total = context.recipe.proxy, context.recipe.evidence, context.data.total
    folder, seconds = recording_folder(context, seed, runs), 0.0
    for number in range(runs):
        run_folder, is_complete = folder / Recording.run_name(number), number < evidence.full_runs
        if agree((run_folder / DONE).exists()):
            continue
        share = 1.0 if is_complete else evidence.early_epoch / training.epochs
        left = share - 1 + share_left([run_folder / STATE], training, total, total)
        seconds += max(0.0, left) * training_seconds(context, training, total, total)
        seconds += forward_seconds(context, training, total * (1 + is_complete))
    return seconds


def record_proxies(context: Context, seed: int, runs: int) -> Recording:
    """Open the recording of this context in the workspace, with its first `runs` runs; those that are missing are trained.

    Of the runs that the recipe asks for, the first `evidence.full_runs` train to the end, the others to the early epoch.
    Run r has the random seed `seed` + r. A killed call resumes where it was.

    Raises:
        InvalidValue: the dataset has a single class.
    """
    evidence, training, data = context.recipe.evidence, context.recipe.proxy, context.data
    check_class_count(data.name, data.classes)
    folder = recording_folder(context, seed, runs)
    manifest = RecordingManifest(
        dataset=data.name, fingerprint=data.fingerprint, total=data.total, epochs=training.epochs,
        early_epoch=evidence.early_epoch, seed=seed, device=context.device.type,
        precision=resolve_precision(training.precision, context.device),
    )  # fmt: skip
    recording = create_recording(folder, manifest)
    if not agree((folder / LABELS).exists()):
        write_array(folder / LABELS, data.train.labels)
    missing = [number for number in range(runs) if recording.run_manifest(number) is None]
    for number in set(range(runs)) - set(missing):
        _remove_temporary(recording.run_folder(number), data.total)
    if not missing and folder not in context.evidence:
        info(f"evidence: using {folder}")
    for number in missing:
        with exclusive_lock(recording.run_folder(number) / DONE, f"another process trains proxy {number + 1}"):
            if recording.run_manifest(number) is None:
                with reproducible(context.threads, context.recipe.proxy):
                    _train_proxy(context, recording, number, runs, seed + number)
    context.evidence[folder] = recording
    return recording


def _train_proxy(context: Context, recording: Recording, number: int, runs: int, seed: int) -> None:
    training, evidence, total = context.recipe.proxy, context.recipe.evidence, context.data.total
    ids = context.data.valid_ids
    is_complete = number < evidence.full_runs
    num_epochs = training.epochs if is_complete else evidence.early_epoch
    folder = recording.run_folder(number)
    loader = context.loader("train")
    info(f"proxy {number + 1} of {runs}: {num_epochs} of {plural(training.epochs, 'epoch')} over {len(ids):,} samples")
    callbacks: list[Callback] = [_EvaluateEarly(recording, number, loader, context.views)]
    prediction_change = PredictionChange(folder / "changes", total)
    if is_complete:
        callbacks.append(Recorder(recording.stats(number, "train_passes"), prediction_change))
    checkpoint = Checkpoint(folder / STATE)
    model = context.new_model(training.model, seed, "proxy")
    if context.time_limit is not None:
        callbacks.append(StopAtTimeLimit(context.time_limit))
    trainer = Trainer(
        model, loader, ids, context.views, training, CrossEntropy(training.label_smoothing), seed=seed,
        num_steps=planned_steps(training, len(ids), len(ids)), description=f"proxy {number + 1}", callbacks=callbacks,
    )  # fmt: skip
    training_result = trainer.fit(checkpoint, stop_epoch=num_epochs)
    if is_complete:
        stats = recording.stats(number, "train_passes")
        for row in range(num_epochs):
            stats.check_complete(row, ids)
        _evaluate_final(recording, number, model, loader, context.views)
    recording.stats(number, "early").check_complete(0)
    cost = training_result.cost() + evaluation_cost(model, total * (1 + is_complete))
    recording.finish_run(number, epochs=num_epochs, early=True, final=is_complete, cost=cost)
    _remove_temporary(folder, total)


def _remove_temporary(folder: Path, total: int) -> None:
    """Remove the files that only an unfinished run needs; a process that was killed at its end left them."""
    PredictionChange(folder / "changes", total).remove()
    Checkpoint(folder / STATE).remove()


class _EvaluateEarly(Callback):
    """One evaluation pass over all samples, without augmentation, at the recording's early epoch; saves the weights."""

    def __init__(self, recording: Recording, number: int, loader: Loader, views: Augmentation) -> None:
        self.recording, self.number, self.loader, self.views = recording, number, loader, views

    def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
        """Evaluate after the early epoch."""
        if epoch + 1 != self.recording.manifest.early_epoch:
            return
        stats = self.recording.stats(self.number, "early")
        write_by_main(predict(model, self.loader, np.arange(len(self.loader)), self.views), partial(_record, stats))
        save_tensors(self.recording.run_folder(self.number) / EARLY_WEIGHTS, dict(model.state_dict()))


def _record(stats: SampleStats, batches: Iterable[tuple[NDArray[np.int64], Tensor, Tensor]]) -> None:
    """Record an evaluation pass: batches of (ids, labels, logits)."""
    recorder = Recorder(stats)
    recorder.start_epoch(0)
    for ids, labels, logits in batches:
        recorder.update(logits, labels, ids)
    recorder.end_epoch()


def _evaluate_final(recording: Recording, number: int, model: nn.Module, loader: Loader, views: Augmentation) -> None:
    """One evaluation pass, without augmentation: statistics, penultimate features, the most likely other class."""
    batches = predict_with_features(model, loader, np.arange(len(loader)), views)
    write_by_main(batches, partial(_record_final, recording, number, recording.stats(number, "final")))


def _record_final(
    recording: Recording,
    number: int,
    stats: SampleStats,
    batches: Iterable[tuple[NDArray[np.int64], Tensor, Tensor, Tensor]],
) -> None:
    runner_up = np.empty(stats.total, np.int32)
    recorder = Recorder(stats)
    recorder.start_epoch(0)
    with atomic_write(recording.run_folder(number) / FEATURES) as temporary:
        features = None
        for ids, labels, logits, batch_features in batches:
            recorder.update(logits, labels, ids)
            runner_up[ids] = runner_up_class(logits, labels).cpu().numpy()
            if features is None:
                features = create_memmap(temporary, np.float16, (stats.total, batch_features.shape[1]))
            features[ids] = to_features(batch_features, ids)
        assert features is not None
        features.flush()
    write_array(recording.run_folder(number) / RUNNER_UP, runner_up)
    recorder.end_epoch()
