"""`export`: scores and subsets as tables and lists, and weights of runs, for other programs."""

import csv
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.ready_made_scores import scores_file
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.data.image_paths import needed_paths
from datapruning.data.registry import open_dataset
from datapruning.errors import InvalidFile, InvalidValue, MissingPackage, OutputExists
from datapruning.io.atomic import atomic_write
from datapruning.io.npy import Array
from datapruning.runs.context import WORKSPACE
from datapruning.runs.run import model_path
from datapruning.selection.draw import rank_descending
from datapruning.tools.load import load_scores_or_subset

SUFFIXES = (".csv", ".parquet", ".txt", ".npy")
METADATA_KEY = b"datapruning"
"""The key of a Parquet file's own metadata under which those of the scores or the subset are stored, as JSON."""
Columns = dict[str, Array | Sequence[str]]


def check_export(out: Path, paths: bool = False) -> None:
    """Refuse an output path that nothing can be written to, before anything is read.

    Raises:
        InvalidValue: A suffix that is none of SUFFIXES, or paths in a `.npy`.
        OutputExists: `out` exists.
        MissingPackage: `.parquet` without pyarrow.
    """
    if out.suffix not in SUFFIXES:
        raise InvalidValue(
            f"{out}: scores and subsets are written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}", parameter="out"
        )
    if paths and out.suffix == ".npy":
        raise InvalidValue(f"{out}: a .npy holds ids or scores, not paths; write a .txt or a .csv", parameter="out")
    if out.exists():
        raise OutputExists(f"{out} exists; name another file", parameter="out")
    if out.suffix == ".parquet":
        _import_pyarrow()


def export(
    source: Scores | Subset | str | Path,
    out: str | Path,
    *,
    data: Dataset | str | Path | None = None,
    paths: bool = False,
    sparse: bool = False,
    with_preprocessing: bool = False,
    data_root: str | Path | None = None,
    download: bool = False,
    workspace: str | Path = WORKSPACE,
) -> str:
    """Write scores, a subset or a run's weights for other programs, and return a line about the written file.

    Args:
        source: Scores, a subset, a file of them, or the folder of a finished run.
        out: The file. `.csv` and `.parquet`: a row for each of the N samples, `id` and `score`, `stderr` or `kept`.
            `.txt`: an id a line, of a subset the kept ones, of scores all, the highest first. `.npy`: of a subset
            int64 ids, of scores float32 [N]. Of a run: `.onnx`, `.pt2` or `.safetensors` (see `export_model`), or `.npz`
            with `sparse`.
        data: The dataset, its name or path; checked against `source` where it is given, and needed for paths.
        paths: Write the paths of the images: in a table beside the ids, in a `.txt` instead of them.
        sparse: Of a run that was pruned, write only the weights that are kept.
        with_preprocessing: Of a run: the network takes uint8 images [N, H, W, C] instead of normalised ones.
        data_root: Folder of the torchvision datasets.
        download: Whether torchvision may download a dataset that is missing.
        workspace: Folder of the caches of decoded images.

    Raises:
        InvalidValue: An unknown suffix, paths of a dataset that has none, or arguments that exclude each other.
        InvalidFile: `source` is missing or broken, or nothing that can be exported.
        IncompatibleInputs: `data` is another dataset.
        OutputExists: `out` exists.
        MissingPackage: `.parquet` without pyarrow.
    """
    out = Path(out)
    if isinstance(source, str | Path) and Path(source).is_dir():
        if out.suffix in SUFFIXES:
            subset = Path(source) / "subset.npz"
            raise InvalidValue(f"{source} is a run folder, and {out.suffix} is for subsets: export {subset}")
        if paths or data is not None:
            raise InvalidValue(f"{source} is a run folder: its weights have no paths; leave paths and data out")
        from datapruning.training.sparsity.export import describe_zeros, export_sparse_weights

        if sparse:
            return export_sparse_weights(Path(source), out)
        model_path(Path(source))
        from datapruning.tools.export_model import export_model

        zeros = describe_zeros(Path(source))
        return export_model(Path(source), out, with_preprocessing=with_preprocessing) + zeros
    if with_preprocessing:
        raise InvalidValue("only a network has preprocessing: name a run folder", parameter="with_preprocessing")
    if sparse:
        name = source if isinstance(source, str | Path) else "what is exported"
        raise InvalidValue(f"only the weights of a pruned run can be sparse; {name} is no run folder", parameter="sparse")
    if isinstance(source, str | Path) and not scores_file(source).exists():
        raise InvalidFile(f"{source} does not exist; a scores file, a subset file or a run folder is needed here")
    check_export(out, paths)
    artifact = load_scores_or_subset(Path(source)) if isinstance(source, str | Path) else source
    if paths and data is None:
        raise InvalidValue(f"paths are part of the dataset: name the dataset, {artifact.meta.dataset}", parameter="data")
    if isinstance(data, str | Path):
        data = open_dataset(str(data), root=data_root, download=download, workspace=workspace)
    return _export_samples(artifact, out, data, paths)


def _export_samples(artifact: Scores | Subset, out: Path, data: Dataset | None, paths: bool) -> str:
    is_subset = isinstance(artifact, Subset)
    if data is not None:
        check_same_dataset("this subset" if is_subset else "these scores", artifact.meta, data)
    image_paths = needed_paths(data) if paths and data is not None else None
    if out.suffix in (".csv", ".parquet"):
        columns = _make_columns(artifact, image_paths)
        if out.suffix == ".csv":
            _write_csv(out, columns)
        else:
            _write_parquet(out, columns, artifact.meta.to_json())
        return f"{len(columns['id']):,} rows of {', '.join(columns)}: {out}"
    ids = _ordered_ids(artifact)
    if out.suffix == ".npy":
        _write_npy(out, ids if isinstance(artifact, Subset) else artifact.values)
        return f"{len(ids):,} {'ids' if is_subset else 'scores, in the order of the ids'}: {out}"
    _write_lines(out, ids.tolist() if image_paths is None else [image_paths[i] for i in ids])
    order = "" if is_subset else ", highest score first"
    return f"{len(ids):,} {'ids' if image_paths is None else 'paths'}{order}: {out}"


def _make_columns(artifact: Scores | Subset, paths: Sequence[str] | None = None) -> Columns:
    """Return columns of all N samples in the order of their ids: `id` int64, `path` if it is given, and the content.

    The content of scores is `score` float32 and, where the scorer gives it, `stderr` float32; of a subset, `kept` bool.
    """
    total = len(artifact.values) if isinstance(artifact, Scores) else artifact.total
    columns: Columns = {"id": np.arange(total), **({} if paths is None else {"path": paths})}
    if isinstance(artifact, Subset):
        return {**columns, "kept": np.isin(np.arange(total), artifact.indices)}
    return {**columns, "score": artifact.values, **({} if artifact.stderr is None else {"stderr": artifact.stderr})}


def _ordered_ids(artifact: Scores | Subset) -> NDArray[np.int64]:
    """Return int64 ids: of a subset the kept ones, rising; of scores all, the highest first, of equals the lower id first.

    Images that cannot be read are left out: they are never selected.
    """
    if isinstance(artifact, Subset):
        return artifact.indices
    order = rank_descending(artifact.values)
    return order[~np.isin(order, artifact.meta.unreadable or ())]


def _write_csv(path: Path, columns: Columns) -> None:
    """Write a header and a line for each row; float32 with the nine digits that restore it, booleans as 1 and 0."""
    cells = [_format_column(column) for column in columns.values()]
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def _format_column(column: Array | Sequence[str]) -> Sequence[object]:
    if not isinstance(column, np.ndarray):
        return column
    values: list[object] = (column.astype(np.int64) if column.dtype == np.bool_ else column).tolist()
    return [f"{value:.9g}" for value in values] if column.dtype == np.float32 else values


def _import_pyarrow() -> Any:
    """Return the module `pyarrow`, with `pyarrow.parquet` loaded.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingPackage("a .parquet file needs the package pyarrow: pip install pyarrow, or write a .csv") from None
    return importlib.import_module("pyarrow")


def _write_parquet(path: Path, columns: Columns, meta: Mapping[str, Any]) -> None:
    """Write the columns with their types, and `meta` into the file's metadata.

    Raises:
        MissingPackage: pyarrow is not installed.
    """
    arrow = _import_pyarrow()
    table = arrow.table({name: arrow.array(column) for name, column in columns.items()})
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(dict(meta), sort_keys=True).encode()})
    with atomic_write(path) as temporary:
        arrow.parquet.write_table(table, str(temporary))


def _write_lines(path: Path, entries: Sequence[object]) -> None:
    """Write one entry a line.

    Raises:
        InvalidFile: An entry contains a line break.
    """
    lines = [str(entry) for entry in entries]
    broken = next((line for line in lines if "\n" in line or "\r" in line), None)
    if broken is not None:
        raise InvalidFile(f"the path {broken!r} has a line break in it, so it fits in no list of lines; write a .csv")
    with atomic_write(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _write_npy(path: Path, array: Array) -> None:
    """Write an array that `np.load` reads without pickle."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
