"""`dprune evaluate`: a trained network on a dataset."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o

MAX_CONFUSED = 10
"""Pairs of classes that are printed."""


class SplitName(StrEnum):
    """A split of a dataset."""

    test = "test"
    train = "train"


def command(
    options: o.DataOptions,
    run: Annotated[Path, typer.Argument(help="A finished run, or its model.safetensors.")],
    split: Annotated[SplitName, typer.Option(help="Which images.")] = SplitName.test,
    out: Annotated[
        Path | None, typer.Option(help="Also write everything, with the whole confusion matrix, as .json.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Evaluate a trained network on a dataset (default: the run's own): accuracy with its interval, by class, confusions.

    Example: dprune evaluate dprune-runs/students/my-run
    """
    from datapruning.data.registry import is_image_files
    from datapruning.errors import InvalidValue, OutputExists
    from datapruning.io.json import write_json
    from datapruning.runs.run import model_path

    if out is not None and out.suffix != ".json":
        raise InvalidValue(f"{out}: an evaluation is written as .json", parameter="out")
    if out is not None and out.exists():
        raise OutputExists(f"{out} exists; name another file", parameter="out")
    model_path(run)  # it is there; then torch is imported
    from datapruning.tools.evaluate_model import evaluate
    from datapruning.tools.trained_model import load_model, training_dataset

    model = load_model(run, device)
    if options.data is not None and options.image_size is None and is_image_files(options.data):
        options = replace(options, image_size=model.description.image_shape[0])
    evaluation = evaluate(model, options.open_named() or training_dataset(run), split.value)
    if out is not None:
        write_json(out, evaluation.to_json())
    low, high = evaluation.interval
    o.print_result(
        f"{evaluation.accuracy:.2f}% of {evaluation.count:,} {split.value} images of {evaluation.dataset} "
        f"(95% interval {low:.2f} to {high:.2f})"
    )
    for entry in evaluation.classes:
        if entry.count:
            o.print_result(f"{entry.name}\t{100 * entry.correct / entry.count:.2f}%\t{entry.correct:,} of {entry.count:,}")
    for name, other, count in evaluation.most_confused[:MAX_CONFUSED]:
        o.print_result(f"{name} taken for {other}\t{count:,}")
