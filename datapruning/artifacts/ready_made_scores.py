"""Ready-made scores: scores files of public datasets that come with the package, opened by names like "cifar100:forgetting".

They are ordinary scores files, with labels and without hashes of images. `python -m benchmarks.ready_made` makes them.
"""

from pathlib import Path

from datapruning.errors import UnknownName

FOLDER = Path(__file__).with_name("ready_made")
"""Holds DATASET/SCORER.npz, and DATASET/manifest.json, which says how they were made."""


def ready_made_names() -> list[str]:
    """The names of all ready-made scores, DATASET:SCORER."""
    return sorted(f"{path.parent.name}:{path.stem}" for path in FOLDER.glob("*/*.npz"))


def find_ready_made(name: str | Path) -> Path | None:
    """The file of the ready-made scores of this name; None: there are none."""
    dataset, _, scorer = str(name).partition(":")
    return FOLDER / dataset / f"{scorer}.npz" if str(name) in ready_made_names() else None


def scores_file(path: str | Path) -> Path:
    """The scores file that is meant: that of ready-made scores by their name, else the path itself.

    Raises:
        UnknownName: it has the form of such a name, and neither such scores nor such a file exist.
    """
    path = Path(path)
    ready_made = find_ready_made(path)
    if ready_made is not None:
        return ready_made
    dataset, _, scorer = str(path).partition(":")
    if dataset and scorer and path.name == str(path) and not path.suffix and not path.exists():
        raise UnknownName("ready-made scores", str(path), ready_made_names())
    return path
