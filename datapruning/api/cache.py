"""`cache`: write the FFCV cache beforehand."""

import hashlib
from pathlib import Path
from typing import Unpack

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.subset import Subset
from datapruning.artifacts.subset_file import open_subset
from datapruning.errors import OutputExists
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context


def cache(
    data: DatasetOrContext,
    *,
    subset: Subset | str | Path | None = None,
    out: str | Path | None = None,
    **settings: Unpack[ContextSettings],
) -> list[Path]:
    """Write the FFCV cache of both splits, or a compact one of a subset alone.

    Args:
        data: a dataset, its name or path, or a context.
        subset: samples, or a file of them, that a compact cache is written of.
        out: a folder; of a subset, the file. Default: in the workspace.
        settings: workspace and others, see `ContextSettings`; not beside a context.

    Returns:
        The `.beton` files.

    Raises:
        MissingPackage: FFCV is not installed. IncompatibleInputs: a subset of another dataset. OutputExists: `out` exists.
    """
    from datapruning.data.loaders.ffcv_cache import cache_folder, ensure_cache, ensure_subset_cache

    context = as_context(data, **settings)
    root = context.workspace / "cache"
    if subset is None:
        return [ensure_cache(context.data, role, Path(out) if out else root) for role in ("train", "test")]
    subset = subset if isinstance(subset, Subset) else open_subset(subset, context.data)
    check_same_dataset("this subset", subset.meta, context.data)
    name = hashlib.sha256(subset.indices.tobytes()).hexdigest()[:10]
    path = Path(out) if out else cache_folder(context.data, root) / f"subset-{len(subset)}-{name}.beton"
    if out and path.exists():
        raise OutputExists(f"{path} exists; name another output", parameter="out")
    return [path if path.exists() else ensure_subset_cache(context.data, subset.indices, path)]
