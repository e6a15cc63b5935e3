"""Training a teacher: the recipe's [teacher] settings on the full data."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datapruning.runs.context import Context
from datapruning.runs.result import EarlyCheckpoint, TeacherResult, TrainedResult
from datapruning.runs.run import RESULT, FinishedRun, Run
from datapruning.runs.run_config import RunOptions
from datapruning.training.distributed.sharding import global_batch_sizes
from datapruning.training.schedules import planned_epochs
from datapruning.utils.console import info
from datapruning.utils.predicted_time import predict_time
from datapruning.utils.processes import agree


def train_teacher(
    context: Context, seed: int, out: Path | None = None, model: str | None = None
) -> FinishedRun[TeacherResult]:
    """Train on every sample, or find the same run finished. `model`: instead of the recipe's network.

    Raises:
        OutputExists: `out` holds something else.
    """
    context = _with_model(context, model)
    with predict_time(lambda: {"teacher": teacher_seconds(context, seed, out)}):
        return _train(context, seed, teacher_folder(context, seed) if out is None else out)


def teacher_seconds(context: Context, seed: int, out: Path | None = None, model: str | None = None) -> float:
    """Seconds that `train_teacher` will take; 0 where the run is finished."""
    context = _with_model(context, model)
    folder = teacher_folder(context, seed) if out is None else out
    if agree((folder / RESULT).exists()):
        return 0.0
    from datapruning.training.speed import forward_seconds, share_left, training_seconds

    training, kept, data = context.recipe.teacher.training, len(context.data.valid_ids), context.data
    left = share_left([Run(folder).checkpoint_path()], training, kept, data.total)
    return left * training_seconds(context, training, kept, data.total) + forward_seconds(context, training, len(data.test))


def _with_model(context: Context, model: str | None) -> Context:
    recipe = context.recipe
    return context if model is None else replace(context, recipe=recipe.replace(teacher=recipe.teacher.replace(model=model)))


def teacher_folder(context: Context, seed: int, model: str | None = None) -> Path:
    """The folder of a teacher in the workspace, or of the same in one to reuse."""
    context = _with_model(context, model)
    identity = {**context.recipe.identity("teacher", "views"), "seed": seed, **context.init_identity("teacher")}
    path = context.artifact_path("teachers", context.recipe.teacher.model, identity)
    return context.find_artifact(path, RESULT)


def _train(context: Context, seed: int, folder: Path) -> FinishedRun[TeacherResult]:
    training, ids = context.recipe.teacher.training, context.data.valid_ids
    epochs = context.recipe.teacher.early_epochs(planned_epochs(training, len(ids), context.data.total))
    options = RunOptions(
        verb="teach", data=context.data.name, fingerprint=context.data.fingerprint, seed=seed,
        init=context.init_identity("teacher").get("init"),
    )  # fmt: skip
    run = Run(folder, context.loggers)
    with run.open(context.recipe, ("views", "teacher"), options, lambda: context.environment):
        result = run.result(TeacherResult)
        if result is not None:
            info(f"teacher: using {run.folder}, {result.test_accuracy:.2f}% on the test set")
            return FinishedRun(run.folder, result)
        from datapruning.training.distillation.training_run import TrainingRun, train_and_evaluate
        from datapruning.training.early_checkpoints import KeepCheckpoints
        from datapruning.training.losses import CrossEntropy
        from datapruning.training.reproducibility import reproducible

        with reproducible(run.environment.threads, training):
            steps_per_epoch = len(global_batch_sizes(len(ids), training))
            training_run = TrainingRun(context, run, "teacher", training, ids, seed)
            finished = train_and_evaluate(
                training_run, CrossEntropy(training.label_smoothing), partial(_complete, run, epochs),
                callbacks=[KeepCheckpoints(epochs, steps_per_epoch, run.early_checkpoint_path)],
            )  # fmt: skip
    info(f"teacher: {finished.test_accuracy:.2f}% on the test set, in {run.folder}")
    return finished


def _complete(run: Run, epochs: Sequence[int], trained: TrainedResult) -> TeacherResult:
    """The result of a teacher, which kept the weights of these epochs."""
    from datapruning.io.tensors import load_tensors
    from datapruning.models.weights import hash_weights

    weights = {epoch: load_tensors(run.early_checkpoint_path(epoch))[0] for epoch in epochs}
    early = tuple(EarlyCheckpoint(epoch=epoch, weights=hash_weights(kept)) for epoch, kept in weights.items())
    return TeacherResult(**{**dict(trained), "fraction": 1.0, "early": early})
