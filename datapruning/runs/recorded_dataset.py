"""The dataset that files name: scores, subsets and runs record what opens the dataset they were made from."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from datapruning.artifacts.id_lists import LIST_SUFFIXES
from datapruning.artifacts.ready_made_scores import find_ready_made
from datapruning.data.dataset_spec import OPTIONS, DatasetSpec, option_name, parse_dataset_spec
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.npz import read_meta
from datapruning.runs.run import CONFIG
from datapruning.runs.run_config import read_run_options
from datapruning.utils.names import expand_user


def recorded_spec(path: Path) -> str | None:
    """What opens the dataset of scores, a subset file or a run folder (RUN, or RUN@EPOCH); None: it does not say.

    A file that cannot be read says nothing here: whatever needs it reports what is wrong.
    """
    path = find_ready_made(path) or path
    folder = path if path.is_dir() else path.with_name(path.name.rpartition("@")[0] or path.name)
    if folder.is_dir():
        try:
            options = read_run_options(folder / CONFIG)
        except InvalidFile:
            return None
        return None if options is None else options.data
    if path.suffix != ".npz" or not path.is_file():
        return None
    try:
        spec = read_meta(path, "a scores or subset").get("spec")
    except InvalidFile:
        return None
    return spec if isinstance(spec, str) and spec else None


def dataset_for(named: str | None, samples: Path | None, default: str, paths: Iterable[Path | None] = ()) -> str:
    """The dataset of a command: as named, with the options of its files where it names none, else that of its files.

    Args:
        named: What the user named, in the form of `DatasetSpec`; None: nothing.
        samples: The samples that the command reads: a subset file, scores, or a list of ids; None: none.
        default: The dataset of a command that reads no file.
        paths: The other files and run folders that it reads; None is skipped.

    Raises:
        InvalidValue: A list of ids, and nothing that names a dataset.
        IncompatibleInputs: The files are of another dataset than the named one, or of images that were read otherwise.
    """
    given = [path for path in (samples, *paths) if path is not None]
    recorded = [(path, spec) for path in given if (spec := recorded_spec(path)) is not None]
    if named is not None:
        dataset = parse_dataset_spec(named)
        for path, text in recorded:
            dataset = _merged(dataset, parse_dataset_spec(text), path)
        return str(dataset)
    if recorded:
        return recorded[0][1]
    if samples is not None and samples.suffix in LIST_SUFFIXES and samples.is_file():
        raise InvalidValue(f"{samples} does not say which dataset its samples are of: name it", parameter="data")
    return default


def _merged(named: DatasetSpec, recorded: DatasetSpec, path: Path) -> DatasetSpec:
    """The named dataset, with the options of the recorded one that it leaves open.

    Raises:
        IncompatibleInputs: An option differs, or both are names and differ.
    """
    if _place(named.name) != _place(recorded.name):
        if not _is_path(named.name) and not _is_path(recorded.name):
            raise IncompatibleInputs(f"{path} was made from {recorded.name}, not from {named.name}", parameter="data")
        return named  # a folder may have moved: its content is compared when it is open
    options = dict(named.options)
    corrected = options.pop("corrected_labels", recorded.corrected_labels)  # scores are adapted to labels changed since
    for field, wanted in options.items():
        known = getattr(recorded, field)
        if wanted != known and not (known is None and wanted == OPTIONS[field].default):
            made_with = (
                f"with {option_name(field)} {known}" if field in recorded.options else f"without {option_name(field)}"
            )
            raise IncompatibleInputs(
                f"{path} was made from {recorded.name} {made_with}, not with {wanted}: leave it out, or make the file again",
                parameter=field,
            )
    return replace(named, **{**recorded.options, "corrected_labels": corrected})


def _is_path(name: str) -> bool:
    return os.path.exists(expand_user(name.removeprefix("hf:"))) or "/" in name


def _place(name: str) -> str:
    prefix = "hf:" if name.startswith("hf:") else ""
    return prefix + os.path.realpath(expand_user(name.removeprefix("hf:"))) if _is_path(name) else name
