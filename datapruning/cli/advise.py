"""`dprune advise`: how small a fraction may be."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.ContextOptions,
    tolerance: Annotated[str, typer.Option(help="Points of accuracy that may be lost.")] = "0.5",
    scorer: Annotated[str, typer.Option(help="The scorer that ranks the samples.")] = "random",
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="A run folder. Repeatable.", show_default="one trained without the hold-out"),
    ] = None,
    allow_weak_teacher: o.AllowWeakTeacher = False,
    budget: o.Budget = None,
    samples: o.NumSamples = None,
    model: o.StudentModel = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    out: Annotated[Path | None, typer.Option(help="The advice's folder.", show_default="in the workspace")] = None,
    seed: o.Seed = 0,
) -> None:
    """Find the smallest fraction that loses no more than a few tenths of a point against all the data without KD.

    Trains once on all the data but a hold-out, then pilots with KD at a few small fractions. Says what that costs before it
    starts, and when it pays off. The test set is not used. Another tolerance uses the same pilots.

    Example: dprune advise --data digits --tolerance 0.5
    """
    from datapruning.analysis.advise.advise import advise

    advice = advise(
        options.named_data(), tolerance, scorer=scorer, teacher=teacher, model=model, epochs=epochs, batch_size=batch_size,
        lr=lr, budget=budget, samples=samples, allow_weak_teacher=allow_weak_teacher, seed=seed, out=out, **options.settings,
    )  # fmt: skip
    o.print_result(advice.text)
