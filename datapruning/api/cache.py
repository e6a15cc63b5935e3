"""`cache`: write the FFCV cache beforehand."""

from __future__ import annotations

import hashlib
from pathlib import Path

from datapruning.artifacts.metadata import check_made_from
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.errors import OutputExists
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of


def cache(data: Dataset | Context, *, subset: Subset | None = None, out: str | Path | None = None) -> list[Path]:
    """Write the FFCV cache of both splits, or a compact one of a subset alone. Returns the `.beton` files.

    Raises:
        MissingPackage: FFCV is not installed. IncompatibleInputs: a subset of another dataset. OutputExists: `out` exists.
    """
    from datapruning.data.loaders.ffcv_cache import cache_folder, ensure_cache, ensure_subset_cache

    context = context_of(data)
    root = context.root / "cache"
    if subset is None:
        return [ensure_cache(context.data, role, Path(out) if out else root) for role in ("train", "test")]
    check_made_from("this subset", subset.meta, context.data)
    name = hashlib.sha256(subset.indices.tobytes()).hexdigest()[:10]
    path = Path(out) if out else cache_folder(context.data, root) / f"subset-{len(subset)}-{name}.beton"
    if out and path.exists():
        raise OutputExists(f"{path} exists; name another --out")
    return [path if path.exists() else ensure_subset_cache(context.data, subset.indices, path)]
