"""The packages beside `datapruning`: `scorers`, `teachers`, `recipes`. A user's folder of that name never runs as ours."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from datapruning.errors import UserError

HOME = Path(__file__).resolve().parent.parent


def beside(name: str) -> ModuleType:
    """Import a package (or a module of one) that lies beside `datapruning`.

    Raises:
        UserError: another folder or module of that name comes first on the path; it is not run.
    """
    top = name.partition(".")[0]
    loaded = sys.modules.get(top)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(top)
    found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    if found is None or found.parent != HOME / top:
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        where = found or (places[0] if places else "nowhere")
        raise UserError(
            f"'{top}' of datapruning is hidden by {where}: run from another folder, or rename that one "
            f"(ours lies in {HOME / top})"
        )
    return importlib.import_module(name)
