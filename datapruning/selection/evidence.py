"""The evidence that a strategy reads: the recording that the scores were made from, or another one."""

from pathlib import Path

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.selection.strategy import EvidenceSource, Strategy


def recording_of(strategy: Strategy, scores: Scores, recording: str | Path | None) -> Path | None:
    """The folder of the recording to read; None: the strategy reads none.

    Raises:
        InvalidValue: a recording is needed and missing, or given and not read. InvalidFile: its folder does not exist.
    """
    if not strategy.evidence_kind:
        if recording is not None:
            raise InvalidValue(f"strategy '{strategy.name}' reads no recording", parameter="recording")
        return None
    if recording is not None:
        return Path(recording)
    recorded = scores.meta.recording
    if recorded is None:
        raise missing_evidence_error(strategy, scores)
    if not Path(recorded).is_dir():
        raise InvalidFile(
            f"strategy '{strategy.name}' reads {strategy.evidence_kind}, and the recording of these scores, {recorded}, "
            f"is missing; score by {scores.scorer} again, or name the folder of another recording",
            parameter="recording",
        )
    return Path(recorded)


def missing_evidence_error(strategy: Strategy, scores: Scores) -> InvalidValue:
    """The error where evidence is needed and missing."""
    return InvalidValue(
        f"strategy '{strategy.name}' reads {strategy.evidence_kind}, and these scores (scorer {scores.scorer}) name "
        "no recording; score by forgetting to make one, or name the folder of a recording",
        parameter="recording",
    )


def open_evidence(folder: Path | None, scores: Scores) -> EvidenceSource | None:
    """Open a recording of the same dataset.

    Raises:
        InvalidFile: not a recording. IncompatibleInputs: it is one of another dataset.
    """
    if folder is None:
        return None
    from datapruning.evidence.recording import open_recording  # torch, only where it is needed

    recording = open_recording(folder)
    check_same_dataset("these scores", scores.meta, recording)
    return recording
