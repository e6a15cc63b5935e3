"""`teach`: train a teacher on the full data."""

from pathlib import Path
from typing import Unpack

from datapruning.api.train_settings import given_settings
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.runs.result import TeacherResult
from datapruning.runs.run import FinishedRun
from datapruning.teachers.train import train_teacher


def teach(
    data: DatasetOrContext,
    *,
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    init: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Unpack[ContextSettings],
) -> FinishedRun[TeacherResult]:
    """Train a teacher on the full data, or find the same one finished.

    Args:
        data: a dataset, its name or path, or a context.
        model: the teacher's network; default, as with the next three: the recipe's.
        epochs: number of training epochs.
        batch_size: samples that go through the network together.
        lr: peak learning rate.
        init: file of weights, or a run, that it starts from (see docs/models.md); default: a random initialisation.
        seed: random seed of initialisation and sample order.
        out: the run folder; default: a named one in the workspace.
        settings: recipe, device and others, see `ContextSettings`; not beside a context.

    Raises:
        OutputExists: `out` holds something else. InvalidFile, IncompatibleInputs: weights of another
            network. UnknownName, InvalidValue: see `open_context`.
    """
    given = {"model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr}
    changes = given_settings(settings.get("changes", ()), given, ("teacher", "train"))
    context = as_context(data, **settings)
    if changes:
        context = context.with_settings("teacher", **changes)
    context.check_networks("teacher")
    return train_teacher(context.with_init("teacher", init), seed, Path(out) if out else None)
