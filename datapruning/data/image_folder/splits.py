"""Which folders are training and test sets, by their names."""

import os
import re
from pathlib import Path

from datapruning.data.image_folder.class_files import count_loose, has_folders, is_left_out
from datapruning.errors import InvalidFile

TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation", "eval", "evaluation", "dev")
"""Names of splits, in lower case; of several test sets the first of these is taken."""
SPLIT_WORDS = {**dict.fromkeys(TRAIN_FOLDERS, "train"), **{name: name for name in TEST_FOLDERS}}
WORD = re.compile(r"[^\W\d_]+|\d+")
FILLER = ("set", "data", "dataset", "split", "folder", "images", "imgs", "img")
"""Words that names of splits have beside, as in training_set or val-images; also at the end of a word, as in testset."""
MAX_WRAPPERS = 4
"""Of more folders it is not asked whether a dataset lies in one of them."""


def find_splits(root: Path, excluded: Path | None = None) -> tuple[list[Path], list[Path]]:
    """The folders of training sets and of test sets in `root`, by their names in upper or lower case.

    Where none is called train/ or Training/, pairs such as training_set/ and test_set/, or seg_train/ and seg_test/, are
    splits. A folder train/ of images among other folders of images is a class, as of vehicles. `excluded` is no folder of
    images: the workspace.

    Raises:
        InvalidFile: two folders for the training set, or two of one name but for its case.
    """
    folders = {entry.name: Path(entry.path) for entry in os.scandir(root) if entry.is_dir()}
    trains = sorted(path for name, path in folders.items() if name.lower() in TRAIN_FOLDERS)
    tests = [path for known in TEST_FOLDERS for name, path in sorted(folders.items()) if name.lower() == known]
    if not trains:
        trains, tests = _find_pairs(folders)
    elif not tests and not any(map(has_folders, trains)):
        others = [path for path in folders.values() if path not in trains and path.resolve() != excluded]
        trains = [] if any(_is_class(path) for path in others) else trains
    twice = [path for path in tests if [p.name.lower() for p in tests].count(path.name.lower()) > 1]
    if len(trains) > 1 or twice:
        names = " and ".join(f"{path.name}/" for path in (trains if len(trains) > 1 else twice))
        raise InvalidFile(f"folder {root} has {names}: rename all but one of them")
    return trains, tests


def _find_pairs(folders: dict[str, Path]) -> tuple[list[Path], list[Path]]:
    """Training and test sets whose names have other words beside, the same in both but for `FILLER`."""
    trains: dict[tuple[str, ...], list[Path]] = {}
    tests: dict[tuple[str, ...], dict[str, Path]] = {}
    for name, path in sorted(folders.items()):
        words = [_without_filler(word) for word in WORD.findall(name.lower())]
        roles = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
        others = tuple(word for word in words if word and word not in SPLIT_WORDS)
        if roles == ["train"]:
            trains.setdefault(others, []).append(path)
        elif len(roles) == 1:
            tests.setdefault(others, {})[roles[0]] = path
    pairs = sorted(trains.keys() & tests.keys())
    if not pairs:
        return [], []
    test_by_role = tests[pairs[0]]
    return (
        [path for pair in pairs for path in trains[pair]],
        [test_by_role[role] for role in TEST_FOLDERS if role in test_by_role],
    )


def _without_filler(word: str) -> str:
    """A word, of testset its first part, of set nothing."""
    if word in FILLER:
        return ""
    return next((word.removesuffix(end) for end in FILLER if word.removesuffix(end) in SPLIT_WORDS), word)


def find_wrapped(root: Path) -> list[Path]:
    """The folders in `root` that hold training and test sets of their own, if it has few folders."""
    folders = sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    return [path for path in folders if all(find_splits(path))] if len(folders) <= MAX_WRAPPERS else []


def _is_class(folder: Path) -> bool:
    """Whether a folder is no system's, and images lie in it, by their endings."""
    return not is_left_out(folder.name) and count_loose(folder) > 0
