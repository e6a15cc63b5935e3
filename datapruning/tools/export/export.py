"""Export: scores and subsets as tables and lists for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datapruning.artifacts.metadata import FORMATS, check_made_from
from datapruning.artifacts.scores import KIND as SCORES
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.artifacts.subset import KIND as SUBSET
from datapruning.artifacts.subset import Subset, load_subset
from datapruning.data.dataset import Dataset
from datapruning.data.image_paths import needed_paths
from datapruning.errors import InvalidFile, InvalidValue, OutputExists
from datapruning.io.npz import read_meta
from datapruning.tools.export.columns import listed_ids, table_of
from datapruning.tools.export.writers import parquet, write_csv, write_lines, write_npy, write_parquet

ENDINGS = (".csv", ".parquet", ".txt", ".npy")


def load_either(path: Path) -> Scores | Subset:
    """A scores file or a subset file.

    Raises:
        InvalidFile: it is neither, or it is broken.
    """
    meta = read_meta(path, "a scores or subset")
    kind = str(meta.get("format"))
    if kind == SCORES:
        return load_scores(path)
    if kind == SUBSET:
        return load_subset(path)
    raise InvalidFile(f"{path} is neither a scores nor a subset file: it is {FORMATS.get(kind, repr(kind))} file")


def check_export(out: Path, paths: bool = False) -> None:
    """Refuse a place or a kind of file that nothing can be written to, before anything is read.

    Raises:
        InvalidValue: an ending that is none of ENDINGS, or paths in a `.npy`. OutputExists: `out` exists.
        MissingPackage: `.parquet` without pyarrow.
    """
    if out.suffix not in ENDINGS:
        raise InvalidValue(f"--out {out}: scores and subsets are written as {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if paths and out.suffix == ".npy":
        raise InvalidValue(f"--out {out}: a .npy holds ids or scores, not paths; write a .txt or a .csv")
    if out.exists():
        raise OutputExists(f"{out} exists; name another --out")
    if out.suffix == ".parquet":
        parquet()


def export(made: Scores | Subset, out: str | Path, *, data: Dataset | None = None, paths: bool = False) -> str:
    """Write scores or a subset for other programs; returns what was written, in words.

    Args:
        made: from `load_scores`, `load_subset`, `score` or `select`.
        out: the file. `.csv` and `.parquet`: a row for each of the N samples, `id` and `score`, `stderr` or `kept`.
            `.txt`: an id a line, of a subset those that are kept, of scores all, the highest first. `.npy`: of a subset
            int64 ids, of scores float32 [N].
        data: checked against the file where it is given; needed for paths.
        paths: the paths of the pictures: in a table beside the ids, in a `.txt` instead of them.

    Raises:
        InvalidValue: an unknown ending, or paths of a dataset that has none. IncompatibleInputs: `data` is another dataset.
        OutputExists: `out` exists. MissingPackage: `.parquet` without pyarrow.
    """
    out = Path(out)
    check_export(out, paths)
    what = "these scores" if isinstance(made, Scores) else "this subset"
    if data is not None:
        check_made_from(what, made.meta, data)
    names = None
    if paths:
        if data is None:
            raise InvalidValue(f"paths stand in the dataset: say where {made.meta['dataset']} lies with --data")
        names = needed_paths(data)
    if out.suffix in (".csv", ".parquet"):
        columns = table_of(made, names)
        if out.suffix == ".csv":
            write_csv(out, columns)
        else:
            write_parquet(out, columns, made.meta)
        return f"{len(columns['id']):,} rows of {', '.join(columns)}: {out}"
    ids = listed_ids(made)
    if out.suffix == ".npy":
        write_npy(out, ids if isinstance(made, Subset) else np.asarray(made.values, np.float32))
        return f"{len(ids):,} {'ids' if isinstance(made, Subset) else 'scores, in the order of the ids'}: {out}"
    write_lines(out, ids.tolist() if names is None else [names[i] for i in ids])
    order = "" if isinstance(made, Subset) else ", highest score first"
    return f"{len(ids):,} {'ids' if names is None else 'paths'}{order}: {out}"
