"""`dprune predict`: the class of images, by a trained network."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    run: Annotated[Path, typer.Argument(help="A finished run, or its model.safetensors.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Predict the class of image files: one line each, with path, class and probability, separated by tabs.

    Example: dprune predict dprune-runs/students/my-run photo.png
    """
    from datapruning.runs.run import model_path

    model_path(run)  # it is there; then torch is imported
    from datapruning.tools.trained_model import load_model

    model = load_model(run, device)
    labels, probabilities = model.predict(images)
    for path, label, row in zip(images, labels, probabilities, strict=True):
        o.print_result(f"{path}\t{model.class_names[label]}\t{row[label]:.3f}")
