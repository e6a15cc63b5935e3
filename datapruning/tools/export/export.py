"""`export`: scores and subsets as tables and lists for other programs."""

from __future__ import annotations

from pathlib import Path

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.data.image_paths import needed_paths
from datapruning.errors import InvalidValue, OutputExists
from datapruning.tools.export.columns import make_columns, ordered_ids
from datapruning.tools.export.writers import import_pyarrow, write_csv, write_lines, write_npy, write_parquet

SUFFIXES = (".csv", ".parquet", ".txt", ".npy")


def check_export(out: Path, paths: bool = False) -> None:
    """Refuse an output path that nothing can be written to, before anything is read.

    Raises:
        InvalidValue: A suffix that is none of SUFFIXES, or paths in a `.npy`.
        OutputExists: `out` exists.
        MissingPackage: `.parquet` without pyarrow.
    """
    if out.suffix not in SUFFIXES:
        raise InvalidValue(f"--out {out}: scores and subsets are written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if paths and out.suffix == ".npy":
        raise InvalidValue(f"--out {out}: a .npy holds ids or scores, not paths; write a .txt or a .csv")
    if out.exists():
        raise OutputExists(f"{out} exists; name another --out")
    if out.suffix == ".parquet":
        import_pyarrow()


def export(artifact: Scores | Subset, out: str | Path, *, data: Dataset | None = None, paths: bool = False) -> str:
    """Write scores or a subset for other programs, and return a line that says what was written.

    Args:
        artifact: From `load_scores`, `load_subset`, `score` or `select`.
        out: The file. `.csv` and `.parquet`: a row for each of the N samples, `id` and `score`, `stderr` or `kept`.
            `.txt`: an id a line, of a subset the kept ones, of scores all, the highest first. `.npy`: of a subset
            int64 ids, of scores float32 [N].
        data: The dataset; checked against the artifact where it is given, and needed for paths.
        paths: Write the paths of the images: in a table beside the ids, in a `.txt` instead of them.

    Raises:
        InvalidValue: An unknown suffix, or paths of a dataset that has none.
        IncompatibleInputs: `data` is another dataset.
        OutputExists: `out` exists.
        MissingPackage: `.parquet` without pyarrow.
    """
    out, is_subset = Path(out), isinstance(artifact, Subset)
    check_export(out, paths)
    if data is not None:
        check_same_dataset("this subset" if is_subset else "these scores", artifact.meta, data)
    image_paths = None
    if paths:
        if data is None:
            raise InvalidValue(f"paths are part of the dataset: name that of {artifact.meta['dataset']} with --data")
        image_paths = needed_paths(data)
    if out.suffix in (".csv", ".parquet"):
        columns = make_columns(artifact, image_paths)
        if out.suffix == ".csv":
            write_csv(out, columns)
        else:
            write_parquet(out, columns, artifact.meta)
        return f"{len(columns['id']):,} rows of {', '.join(columns)}: {out}"
    ids = ordered_ids(artifact)
    if out.suffix == ".npy":
        write_npy(out, ids if isinstance(artifact, Subset) else artifact.values)
        return f"{len(ids):,} {'ids' if is_subset else 'scores, in the order of the ids'}: {out}"
    write_lines(out, ids.tolist() if image_paths is None else [image_paths[i] for i in ids])
    order = "" if is_subset else ", highest score first"
    return f"{len(ids):,} {'ids' if image_paths is None else 'paths'}{order}: {out}"
