"""Which paths are files of weights that were trained elsewhere."""

from pathlib import Path

SUFFIXES = (".safetensors", ".pth", ".pt")


def is_weights_file(path: Path) -> bool:
    """Whether a path is a file of weights, not a run folder."""
    return path.suffix in SUFFIXES and not path.is_dir()
