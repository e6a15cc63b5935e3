"""Data pruning with distillation: score samples, keep a fraction, train on it with cached soft labels.

    import datapruning as dp
    student = dp.train("digits", fraction=0.3, scorer="el2n", kd_weight="auto")
    print(student.test_accuracy)

or step by step:

    data = dp.open_dataset("digits")
    scores = dp.score(data, "el2n")
    subset = dp.select(scores, fraction=0.3)
    student = dp.train(data, subset)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from datapruning.version import __version__ as __version__

if TYPE_CHECKING:
    from datapruning.analysis.advise.advise import advise as advise
    from datapruning.analysis.influence import influence as influence
    from datapruning.analysis.label_issues import find_label_issues as find_label_issues
    from datapruning.analysis.label_issues import find_label_issues_of_recording as find_label_issues_of_recording
    from datapruning.analysis.pred_probs import pred_probs as pred_probs
    from datapruning.api.cache import cache as cache
    from datapruning.api.score import score as score
    from datapruning.api.score import score_recording as score_recording
    from datapruning.api.select import select as select
    from datapruning.api.teach import teach as teach
    from datapruning.api.train import rerun as rerun
    from datapruning.api.train import train as train
    from datapruning.artifacts.influence import load_influence as load_influence
    from datapruning.artifacts.label_issues import load_label_issues as load_label_issues
    from datapruning.artifacts.scorer import scorer as scorer
    from datapruning.artifacts.scores import Scores as Scores
    from datapruning.artifacts.scores import load_scores as load_scores
    from datapruning.artifacts.subset import Subset as Subset
    from datapruning.artifacts.subset import load_subset as load_subset
    from datapruning.artifacts.subset import subset_from_ids as subset_from_ids
    from datapruning.artifacts.subset_file import subset_from_file as subset_from_file
    from datapruning.data.registry import open_dataset as open_dataset
    from datapruning.errors import DataPruningError as DataPruningError
    from datapruning.errors import UserError as UserError
    from datapruning.evidence.external_loop import record as record
    from datapruning.evidence.recording import open_recording as open_recording
    from datapruning.experiments.sweep.sweep import sweep as sweep
    from datapruning.experiments.workers.score_all import score_all as score_all
    from datapruning.report.write import write_report as write_report
    from datapruning.runs.opening import open_context as open_context
    from datapruning.runs.run import FinishedRun as FinishedRun
    from datapruning.tools.check import check as check
    from datapruning.tools.diff.diff import diff as diff
    from datapruning.tools.export.export import export as export

_MODULES = {
    "DataPruningError": "errors",
    "FinishedRun": "runs.run",
    "Scores": "artifacts.scores",
    "Subset": "artifacts.subset",
    "UserError": "errors",
    "advise": "analysis.advise.advise",
    "cache": "api.cache",
    "check": "tools.check",
    "diff": "tools.diff.diff",
    "export": "tools.export.export",
    "find_label_issues": "analysis.label_issues",
    "find_label_issues_of_recording": "analysis.label_issues",
    "influence": "analysis.influence",
    "load_influence": "artifacts.influence",
    "load_label_issues": "artifacts.label_issues",
    "load_scores": "artifacts.scores",
    "load_subset": "artifacts.subset",
    "open_context": "runs.opening",
    "open_dataset": "data.registry",
    "open_recording": "evidence.recording",
    "pred_probs": "analysis.pred_probs",
    "record": "evidence.external_loop",
    "rerun": "api.train",
    "score": "api.score",
    "score_all": "experiments.workers.score_all",
    "score_recording": "api.score",
    "scorer": "artifacts.scorer",
    "select": "api.select",
    "subset_from_file": "artifacts.subset_file",
    "subset_from_ids": "artifacts.subset",
    "sweep": "experiments.sweep.sweep",
    "teach": "api.teach",
    "train": "api.train",
    "write_report": "report.write",
}
"""The module of each public name, from which it is loaded when it is first used."""

__all__ = ["__version__", *_MODULES]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'datapruning' has no attribute '{name}'")
    return getattr(importlib.import_module(f"datapruning.{_MODULES[name]}"), name)
