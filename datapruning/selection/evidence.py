"""Finding the evidence a strategy reads: the recording that the scores were made from, or another one that is named."""

from __future__ import annotations

from pathlib import Path

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.selection.strategy import EvidenceSource, Strategy


def recording_of(strategy: Strategy, scores: Scores, recording: str | Path | None) -> Path | None:
    """The folder to read, or None where the strategy reads none.

    Raises:
        InvalidValue: evidence is needed and there is none, or is given and not read. InvalidFile: the folder is gone.
    """
    if not strategy.evidence_kind:
        if recording is not None:
            raise InvalidValue(f"strategy '{strategy.name}' reads no recording; leave --recording out")
        return None
    if recording is not None:
        return Path(recording)
    named = scores.meta.recording
    if named is None:
        raise missing_evidence_error(strategy, scores)
    if not Path(named).is_dir():
        raise InvalidFile(
            f"strategy '{strategy.name}' reads {strategy.evidence_kind}, and the recording of these scores, {named}, "
            f"is not there; make it again with 'dprune score --scorer {scores.scorer}' or give --recording FOLDER"
        )
    return Path(named)


def missing_evidence_error(strategy: Strategy, scores: Scores) -> InvalidValue:
    """What to say where evidence is needed and there is none."""
    return InvalidValue(
        f"strategy '{strategy.name}' reads {strategy.evidence_kind}, and these scores (scorer {scores.scorer}) name "
        "no recording; make one with 'dprune score --scorer forgetting' or give --recording FOLDER"
    )


def open_evidence(folder: Path | None, scores: Scores) -> EvidenceSource | None:
    """Open a recording of the same dataset.

    Raises:
        InvalidFile: it is no recording. IncompatibleInputs: it is one of another dataset.
    """
    if folder is None:
        return None
    from datapruning.evidence.recording import open_recording  # torch, only where it is needed

    recording = open_recording(folder)
    check_same_dataset("these scores", scores.meta, recording)
    return recording
