"""Data pruning with distillation: score samples, keep a fraction, train on it with cached soft labels.

    import datapruning as dp
    data = dp.open_dataset("digits")
    scores = dp.score(data, "el2n")
    subset = dp.select(scores, fraction=0.3)
    student = dp.train(data, subset, kd_weight="auto")
    print(student.test_accuracy)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from datapruning.version import __version__

if TYPE_CHECKING:
    from datapruning.advice.verb import advise
    from datapruning.api import cache, open_context, open_dataset, score, score_recording, select, teach, train
    from datapruning.errors import DataPruningError, UserError
    from datapruning.evidence.own_loop import record
    from datapruning.evidence.recording import open_recording
    from datapruning.exchange.diff import diff
    from datapruning.exchange.export import export
    from datapruning.exchange.lists import subset_of_list
    from datapruning.influences import load_influence
    from datapruning.influencing import influence
    from datapruning.probabilities import pred_probs
    from datapruning.report.write import write_report
    from datapruning.scorer import scorer
    from datapruning.scores import Scores, load_scores
    from datapruning.subsets import Subset, load_subset, subset_from_ids
    from datapruning.suspecting import suspects, suspects_of_recording
    from datapruning.suspectlist import load_suspects
    from datapruning.sweeping.verb import sweep

_HOMES = {
    "DataPruningError": "errors",
    "Scores": "scores",
    "Subset": "subsets",
    "UserError": "errors",
    "advise": "advice.verb",
    "cache": "api",
    "diff": "exchange.diff",
    "export": "exchange.export",
    "influence": "influencing",
    "load_influence": "influences",
    "load_scores": "scores",
    "load_subset": "subsets",
    "load_suspects": "suspectlist",
    "open_context": "api",
    "open_dataset": "api",
    "open_recording": "evidence.recording",
    "pred_probs": "probabilities",
    "record": "evidence.own_loop",
    "score": "api",
    "score_recording": "api",
    "scorer": "scorer",
    "select": "api",
    "subset_from_ids": "subsets",
    "subset_of_list": "exchange.lists",
    "suspects": "suspecting",
    "suspects_of_recording": "suspecting",
    "sweep": "sweeping.verb",
    "teach": "api",
    "train": "api",
    "write_report": "report.write",
}

__all__ = [
    "DataPruningError",
    "Scores",
    "Subset",
    "UserError",
    "__version__",
    "advise",
    "cache",
    "diff",
    "export",
    "influence",
    "load_influence",
    "load_scores",
    "load_subset",
    "load_suspects",
    "open_context",
    "open_dataset",
    "open_recording",
    "pred_probs",
    "record",
    "score",
    "score_recording",
    "scorer",
    "select",
    "subset_from_ids",
    "subset_of_list",
    "suspects",
    "suspects_of_recording",
    "sweep",
    "teach",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'datapruning' has no attribute '{name}'")
    return getattr(importlib.import_module(f"datapruning.{_HOMES[name]}"), name)
