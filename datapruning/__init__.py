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
    from datapruning.analysis.advise.advise import advise
    from datapruning.analysis.influence import influence
    from datapruning.analysis.label_issues import find_label_issues, find_label_issues_of_recording
    from datapruning.analysis.pred_probs import pred_probs
    from datapruning.api.cache import cache
    from datapruning.api.score import score, score_recording
    from datapruning.api.select import select
    from datapruning.api.teach import teach
    from datapruning.api.train import train
    from datapruning.artifacts.influence import load_influence
    from datapruning.artifacts.label_issues import load_label_issues
    from datapruning.artifacts.scorer import scorer
    from datapruning.artifacts.scores import Scores, load_scores
    from datapruning.artifacts.subset import Subset, load_subset, subset_from_ids
    from datapruning.artifacts.subset_file import subset_from_file
    from datapruning.data.registry import open_dataset
    from datapruning.errors import DataPruningError, UserError
    from datapruning.evidence.external_loop import record
    from datapruning.evidence.recording import open_recording
    from datapruning.experiments.sweep.sweep import sweep
    from datapruning.report.write import write_report
    from datapruning.runs.opening import open_context
    from datapruning.tools.diff.diff import diff
    from datapruning.tools.export.export import export

_HOMES = {
    "DataPruningError": "errors",
    "Scores": "artifacts.scores",
    "Subset": "artifacts.subset",
    "UserError": "errors",
    "advise": "analysis.advise.advise",
    "cache": "api.cache",
    "diff": "tools.diff.diff",
    "export": "tools.export.export",
    "influence": "analysis.influence",
    "load_influence": "artifacts.influence",
    "load_scores": "artifacts.scores",
    "load_subset": "artifacts.subset",
    "load_label_issues": "artifacts.label_issues",
    "open_context": "runs.opening",
    "open_dataset": "data.registry",
    "open_recording": "evidence.recording",
    "pred_probs": "analysis.pred_probs",
    "record": "evidence.external_loop",
    "score": "api.score",
    "score_recording": "api.score",
    "scorer": "artifacts.scorer",
    "select": "api.select",
    "subset_from_ids": "artifacts.subset",
    "subset_from_file": "artifacts.subset_file",
    "find_label_issues": "analysis.label_issues",
    "find_label_issues_of_recording": "analysis.label_issues",
    "sweep": "experiments.sweep.sweep",
    "teach": "api.teach",
    "train": "api.train",
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
    "find_label_issues",
    "find_label_issues_of_recording",
    "influence",
    "load_influence",
    "load_label_issues",
    "load_scores",
    "load_subset",
    "open_context",
    "open_dataset",
    "open_recording",
    "pred_probs",
    "record",
    "score",
    "score_recording",
    "scorer",
    "select",
    "subset_from_file",
    "subset_from_ids",
    "sweep",
    "teach",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'datapruning' has no attribute '{name}'")
    return getattr(importlib.import_module(f"datapruning.{_HOMES[name]}"), name)
