"""Training a teacher: the recipe's [teacher] settings on the full data."""

from dataclasses import replace
from pathlib import Path

from datapruning.runs.context import Context
from datapruning.runs.result import TeacherMetadata, TeacherResult
from datapruning.runs.run import FinishedRun, Run
from datapruning.runs.run_config import RunOptions
from datapruning.training.distillation.training_run import TrainingRun, train_and_evaluate
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.utils.console import info


def train_teacher(
    context: Context, seed: int, out: Path | None = None, model: str | None = None
) -> FinishedRun[TeacherResult]:
    """Train on every sample, or find the same run finished. `model`: instead of the recipe's network.

    Raises:
        OutputExists: `out` holds something else.
    """
    if model is not None:
        recipe = context.recipe
        context = replace(context, recipe=recipe.replace(teacher=recipe.teacher.replace(model=model)))
    training = context.recipe.teacher
    options = RunOptions(verb="teach", data=context.data.name, fingerprint=context.data.fingerprint, seed=seed)
    identity = {**context.recipe.identity("teacher", "views"), "seed": seed}
    run = Run(out or context.artifact_path("teachers", training.model, identity), context.loggers)
    with run.open(context.recipe, ("views", "teacher"), options, context.environment):
        result = run.result(TeacherResult)
        if result is not None:
            info(f"teacher: using {run.folder}, {result.test_accuracy:.2f}% on the test set")
            return FinishedRun(run.folder, result)
        with reproducible(run.environment.threads):
            training_run = TrainingRun(context, run, "teacher", training, context.data.valid_ids, seed)
            finished = train_and_evaluate(training_run, CrossEntropy(training.label_smoothing), TeacherMetadata().complete)
    info(f"teacher: {finished.test_accuracy:.2f}% on the test set, in {run.folder}")
    return finished
