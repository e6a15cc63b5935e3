"""`dprune teach`: a teacher on the full data."""

from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.RunOptions,
    model: Annotated[str | None, typer.Option(help="The network.", show_default="the recipe's")] = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    init: o.Init = None,
    out: o.RunFolder = None,
    seed: o.Seed = 0,
) -> None:
    """Train a teacher on the full data. `dprune train` does so by itself where no teacher is named.

    Example: dprune teach --data digits --out teacher
    """
    from datapruning.api.teach import teach

    run = teach(
        options.named_data(), model=model, epochs=epochs, batch_size=batch_size, lr=lr, init=init, seed=seed, out=out,
        **options.settings,
    )  # fmt: skip
    o.print_result(f"test accuracy {run.test_accuracy:.2f}%: {run.folder}")
