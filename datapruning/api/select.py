"""`select`: keep a fraction of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from datapruning.artifacts.metadata import check_made_from
from datapruning.artifacts.save import save_new
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.selection.evidence import open_evidence, recording_of
from datapruning.selection.select import Balance
from datapruning.selection.select import select as select_from
from datapruning.selection.strategies import get_strategy


def select(
    scores: Scores,
    fraction: float | str,
    *,
    strategy: str = "top",
    settings: Mapping[str, object] | None = None,
    balance: Balance = "none",
    data: Dataset | None = None,
    recording: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Subset:
    """Keep a fraction of the samples (see `datapruning.selection.select.select`).

    Args:
        scores: from `score` or `load_scores`.
        fraction: the share that is kept, 0 < f <= 1.
        strategy: its name: "top", "random", "ccs", ... (see docs/strategies.md).
        settings: of the strategy, for example {"cutoff": 0.2}; the others have their defaults.
        balance: "none", or "class", which needs `data` for its labels.
        data: checked against the scores where it is given.
        recording: folder of the evidence that some strategies read; default: the one the scores were made from.
        seed: of what is drawn.
        out: file to write; default: none.

    Raises:
        InvalidValue, UnknownName: bad arguments. InvalidFile: no recording there.
        IncompatibleInputs: scores or a recording of another
        dataset. MissingPackage: "d2" without faiss. OutputExists: `out` holds something else.
    """
    if data is not None:
        check_made_from("these scores", scores.meta, data)
    labels = None if data is None else data.train.labels
    folder = recording_of(get_strategy(strategy), scores, recording)
    subset = select_from(
        scores, fraction, strategy=strategy, settings=settings, balance=balance, labels=labels, seed=seed,
        evidence=open_evidence(folder, scores), recording=folder,
    )  # fmt: skip
    if out is not None:
        save_new(subset, Path(out))
    return subset
