"""Which paths are files of weights that were trained elsewhere."""

from pathlib import Path

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".th", ".tar", ".bin")


def is_weights_file(path: Path) -> bool:
    """Whether a path is a file of weights, not a run folder; the content of a file, not its ending, says what it is."""
    return path.is_file() or (path.suffix in SUFFIXES and not path.is_dir())
