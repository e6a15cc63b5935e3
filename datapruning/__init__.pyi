"""The public names and where they are defined, for type checkers and for `datapruning/__init__.py`."""

from datapruning.analysis.advise.advise import advise as advise
from datapruning.analysis.influence import influence as influence
from datapruning.analysis.label_issues import find_label_issues as find_label_issues
from datapruning.analysis.label_issues import find_label_issues_of_recording as find_label_issues_of_recording
from datapruning.analysis.near_duplicates import find_near_duplicates as find_near_duplicates
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
from datapruning.tools.evaluate_model import evaluate as evaluate
from datapruning.tools.export import export as export
from datapruning.tools.soft_labels import SoftLabels as SoftLabels
from datapruning.tools.soft_labels import soft_labels as soft_labels
from datapruning.tools.trained_model import TrainedModel as TrainedModel
from datapruning.tools.trained_model import load_model as load_model
from datapruning.training.distillation.weight_search import WeightSearch as WeightSearch
from datapruning.training.kd_loss import KDLoss as KDLoss
from datapruning.version import __version__ as __version__

__all__: list[str]
