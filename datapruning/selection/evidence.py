"""The recording that a strategy reads: the one that the scores were made from, or another one."""

from pathlib import Path
from typing import TYPE_CHECKING

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.selection.strategy import Strategy

if TYPE_CHECKING:
    from datapruning.evidence.recording import Recording


def open_recording_for(strategy: Strategy, scores: Scores, recording: str | Path | None) -> "Recording | None":
    """The recording that a strategy reads in addition to the scores; None: it reads none.

    Raises:
        InvalidValue: a recording is needed and missing, or given and not read.
        InvalidFile: its folder does not exist, or is no recording. IncompatibleInputs: it is one of another dataset.
    """
    if not strategy.evidence_kind:
        if recording is not None:
            raise InvalidValue(f"strategy '{strategy.name}' reads no recording", parameter="recording")
        return None
    folder = scores.meta.recording if recording is None else recording
    if folder is None:
        raise missing_evidence_error(strategy, scores)
    if recording is None and not Path(folder).is_dir():
        raise InvalidFile(
            f"strategy '{strategy.name}' reads {strategy.evidence_kind}, and the recording of these scores, {folder}, "
            f"is missing; score by {scores.scorer} again, or name the folder of another recording",
            parameter="recording",
        )
    from datapruning.evidence.recording import open_recording  # torch, only where it is needed

    opened = open_recording(folder)
    check_same_dataset("these scores", scores.meta, opened)
    return opened


def missing_evidence_error(strategy: Strategy, scores: Scores) -> InvalidValue:
    """The error where evidence is needed and missing."""
    return InvalidValue(
        f"strategy '{strategy.name}' reads {strategy.evidence_kind}, and these scores (scorer {scores.scorer}) name "
        "no recording; score by forgetting to make one, or name the folder of a recording",
        parameter="recording",
    )
