"""Near duplicates: pairs of training samples whose embeddings are nearly the same."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from datapruning.api.score import EmbeddingsSource
from datapruning.artifacts.save import check_output_path
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, InvalidValue, first_line
from datapruning.evidence.collect import collect_evidence, print_evidence_cost
from datapruning.evidence.embeddings import Embeddings
from datapruning.evidence.own_embeddings import open_embeddings
from datapruning.io.atomic import write_text
from datapruning.io.disk_space import check_writable
from datapruning.io.text import read_text
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.scorers import get_scorer
from datapruning.utils.console import info

NEIGHBOURS = 20
"""Nearest others of each sample that it is paired with, as in the scorer "duplicates"."""
MAX_FILE_BYTES = 2**32


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of near duplicates, the nearest first.

    Attributes:
        ids: int64 [pairs, 2], the lower id first.
        distances: float64 [pairs], 1 - cosine of the embeddings.
        data: the dataset.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]
    data: Dataset

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def have_other_labels(self) -> NDArray[np.bool_]:
        """Whether the two samples of a pair have different labels, bool [pairs]."""
        labels = self.data.train.labels[self.ids]
        return np.asarray(labels[:, 0] != labels[:, 1])

    def csv_text(self) -> str:
        """A header and a line a pair: ids, distance, names of the labels, and the paths where the samples are files."""
        names, paths = self.data.class_names, self.data.train_paths
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "other_id", "distance", "label", "other_label", *(["path", "other_path"] if paths else [])])
        labels = self.data.train.labels
        for pair, distance in zip(self.ids.tolist(), self.distances.tolist(), strict=True):
            row = [*pair, f"{distance:.6f}", *(names[labels[i]] for i in pair), *(paths[i] for i in pair if paths)]
            writer.writerow(row)
        return file.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the CSV, unless the same pairs are there already.

        Raises:
            OutputExists: something else is there; it is left as it is.
        """
        path, text = Path(path), self.csv_text()
        if check_output_path(path, "pairs", lambda: _read(path) == text):
            write_text(path, text)
        else:
            info(f"{path} is there already, with the same content")
        return path


def find_near_duplicates(
    data: DatasetOrContext,
    distance: float = 0.05,
    *,
    embeddings: EmbeddingsSource | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Unpack[ContextSettings],
) -> NearDuplicates:
    """The pairs of training samples whose embeddings are no farther apart than a distance.

    Each sample is compared with its 20 nearest others (faiss, exact). Of samples with equal embeddings, each is paired with
    the one of the smallest id alone. The scorer "duplicates" ranks by the same distances.

    Args:
        data: a dataset, its name or path, or a context.
        distance: largest cosine distance of a pair, 0 (equal directions) to 2.
        embeddings: float [N, width] in the order of the sample ids, or a `.npy` file of them, from a network of your own;
            default: those of a proxy, which is trained if it is missing.
        seed: random seed of the proxy.
        out: a CSV to write; default: none.
        settings: recipe, device and others, see `ContextSettings`; not beside a context.

    Raises:
        InvalidValue: a distance outside 0..2; embeddings that cannot be read. IncompatibleInputs: embeddings of another
            number of samples. MissingPackage: faiss is not installed. OutputExists: `out` holds something else.
    """
    if not 0 <= distance <= 2:
        raise InvalidValue(f"the distance is 1 - cosine, in 0..2; got {distance:g}", parameter="distance")
    if out is not None and not Path(out).exists():
        check_writable(out)
    context = as_context(data, **settings)
    dataset, scorer = context.data, get_scorer("duplicates")
    if embeddings is None:
        print_evidence_cost(context, [scorer])
        evidence: Embeddings = collect_evidence(context, scorer, seed)[0]
    else:
        evidence = Embeddings(open_embeddings(embeddings, dataset.total).features, dataset.train.labels)
    ids, distances = evidence.near_pairs(distance, NEIGHBOURS)
    readable = ~np.isin(ids, dataset.corrupt_ids).any(1)
    pairs = NearDuplicates(ids[readable], distances[readable], dataset)
    if out is not None:
        pairs.save(out)
    return pairs


def _read(path: Path) -> str:
    try:
        return read_text(path, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read: {first_line(error)}") from None
