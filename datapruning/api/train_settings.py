"""The settings of a training that functions take as arguments, in addition to those of the recipe."""

from collections.abc import Mapping, Sequence

from datapruning.errors import InvalidValue

ONLY_ONCE = ("epochs", "batch_size", "lr")
"""Settings that are refused where the changes of the recipe set them, too; of others the argument holds."""


def given_settings(
    changes: Sequence[str], given: Mapping[str, object], tables: Sequence[str] = ("train",)
) -> dict[str, object]:
    """Return the arguments that were given: those that are not None.

    Args:
        changes: to the recipe, "table.key=value" each.
        given: the settings by their keys.
        tables: of the recipe that have these settings.

    Raises:
        InvalidValue: one of `ONLY_ONCE` that the changes set, too.
    """
    settings = {key: value for key, value in given.items() if value is not None}
    changed = {change.partition("=")[0].strip() for change in changes}
    for key, value in settings.items():
        for table in tables:
            if key in ONLY_ONCE and f"{table}.{key}" in changed:
                raise InvalidValue(
                    f"{key} is {value}, and the changes of the recipe set {table}.{key}: leave one out", parameter=key
                )
    return settings


def student_settings(
    changes: Sequence[str], *, budget: str | None, samples: int | str | None, epochs: int | None, **given: object
) -> dict[str, object]:
    """Return the settings of [train] that were given, of which a number of samples implies the budget "samples".

    Raises:
        InvalidValue: `samples` under another budget, beside `epochs`, or text that is neither a number nor "full"; or a
            setting that the changes set, too.
    """
    if samples is not None:
        if budget not in (None, "samples"):
            raise InvalidValue(f"a number of samples is the budget 'samples', not '{budget}'", parameter="samples")
        if isinstance(samples, str) and samples.isdecimal():
            samples = int(samples)
        if isinstance(samples, str) and samples != "full":
            raise InvalidValue(f"samples is a whole number, or full; got '{samples}'", parameter="samples")
        if epochs is not None and samples != "full":
            raise InvalidValue(
                f"a student sees {samples:,} samples or trains for {epochs} epochs: leave one out", parameter="epochs"
            )
        budget = "samples"
    return given_settings(changes, {"budget": budget, "samples": samples, "epochs": epochs, **given})
