"""Reading a scores or a subset file where a command takes either."""

from pathlib import Path

from datapruning.artifacts.ready_made_scores import scores_file
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.artifacts.subset import Subset, load_subset
from datapruning.errors import InvalidFile
from datapruning.io.npz import read_meta


def load_scores_or_subset(path: Path) -> Scores | Subset:
    """Read a scores file, ready-made scores or a subset file.

    Raises:
        InvalidFile: It is missing, neither of the two, or broken.
        UnknownName: No ready-made scores of that name.
    """
    file_format = read_meta(scores_file(path), "a scores or subset").get("format")
    if file_format == "datapruning.scores":
        return load_scores(path)
    if file_format == "datapruning.subset":
        return load_subset(path)
    raise InvalidFile(f"{path} is neither a scores nor a subset file: its format is {file_format!r}")
