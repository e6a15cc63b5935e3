"""Options about picture files (`--image-size` and others) of every verb that takes `--data`, and part of what it says."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

ImageSize = Annotated[
    int | None, typer.Option(help="Side in pixels that pictures in a folder are decoded to.", show_default="64")
]
Holdout = Annotated[
    float | None,
    typer.Option(help="Share of each class that is the test set, in a folder without one.", show_default="test/ or val/"),
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Go on without files in a folder that are no pictures.")
]
ImageFormat = Annotated[
    str | None,
    typer.Option(
        help="How decoded pictures are kept: raw, jpg or jpg:QUALITY (a tenth of raw's space).", show_default="raw"
    ),
]
ADDED = {
    "image_size": (ImageSize, None), "holdout": (Holdout, None), "skip_unreadable": (SkipUnreadable, False),
    "image_format": (ImageFormat, None),
}  # fmt: skip


def with_picture_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with those options added, if it takes `--data`; they reach it inside `data`, as runs record them."""
    hints = get_type_hints(command, include_extras=True)
    if "data" not in hints:
        return command

    @functools.wraps(command)
    def verb(**given: Any) -> None:
        said = [given.pop(name) for name in ADDED]
        given["data"] = _together(given["data"], *said)
        command(**given)

    own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(command).parameters.values()]
    after = next(i for i, p in enumerate(own) if p.name == "data") + 1
    more = [inspect.Parameter(n, own[0].kind, default=default, annotation=kind) for n, (kind, default) in ADDED.items()]
    verb.__signature__ = inspect.Signature([*own[:after], *more, *own[after:]])  # type: ignore[attr-defined]
    return verb


def _together(
    data: str | None, size: int | None, holdout: float | None, skip_unreadable: bool, image_format: str | None
) -> str | None:
    """What `--data` and its options say, in one string.

    Raises:
        InvalidValue: options without a dataset, or outside what is allowed.
    """
    from datapruning.data.dataset_spec import OPTIONS, Place, parse_place
    from datapruning.errors import InvalidValue

    if data is None:
        if image_format is not None or not Place("", size, holdout, skip_unreadable).plain:
            raise InvalidValue(f"{OPTIONS} are about a folder of pictures: name it with --data")
        return None
    return str(parse_place(data).changed(size, holdout, skip_unreadable, image_format))
