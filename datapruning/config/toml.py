"""Plain tables to TOML text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from datapruning.config.training import TrainConfig as TrainConfig


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML text of one level of tables of plain values; None is left out."""
    lines = []
    for table, values in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {_toml_value(value)}" for key, value in values.items() if value is not None]
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's, but for DEL
