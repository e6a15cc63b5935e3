"""Selection: from scores to a subset, by a strategy, over all samples or inside each class."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import SubsetMetadata, check_same_dataset, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, UnknownName
from datapruning.evidence.own_embeddings import OwnEmbeddings, open_embeddings
from datapruning.selection.strategies import get_strategy
from datapruning.selection.strategy import EvidenceSource, Pool, Strategy
from datapruning.utils.fraction import kept_count, parse_fraction

if TYPE_CHECKING:
    from datapruning.evidence.recording import Recording

Balance = Literal["none", "class"]


def check_balance(balance: str) -> None:
    """Refuse an unknown balance.

    Raises:
        UnknownName: the nearest is named.
    """
    if balance not in ("none", "class"):
        raise UnknownName("balance", balance, ("none", "class"))


def select(
    scores: Scores,
    fraction: float | str,
    *,
    strategy: str = "top",
    settings: Mapping[str, object] | None = None,
    balance: Balance = "none",
    labels: NDArray[np.int64] | None = None,
    seed: int = 0,
    evidence: EvidenceSource | None = None,
    embeddings: OwnEmbeddings | None = None,
    exclude: NDArray[np.int64] | None = None,
) -> Subset:
    """Keep floor(f*N + 1/2) samples, or that rule inside each class (at least one) with `balance="class"`.

    Args:
        scores: scores to choose by; `strategy="random"` uses their dataset alone.
        fraction: fraction of the samples to keep, 0 < f <= 1.
        strategy: its name, see `datapruning.selection.strategies`.
        settings: settings of the strategy; the others have their defaults.
        balance: "none", or "class", which needs `labels`.
        labels: int64 [N].
        seed: random seed of draws.
        evidence: evidence that some strategies read in addition to the scores.
        embeddings: of a network of one's own, which are read instead of those of `evidence`.
        exclude: ids that are not kept, int64; the fraction remains one of all samples.

    Raises:
        InvalidValue: a bad fraction, one so small that nothing is kept, or so large that excluded samples would be, balance
            without labels, a bad setting, or scores or evidence that the strategy cannot use.
        UnknownName: no such strategy or setting.
        IncompatibleInputs: labels or evidence of another number of samples.
    """
    exact = parse_fraction(fraction)
    check_balance(balance)
    rule = get_strategy(strategy)
    resolved = rule.resolve(settings)
    per_sample = _read(rule, scores, evidence if embeddings is None else embeddings, resolved)
    values = scores.values.astype(np.float64)
    pools = []
    for ids in _groups(len(values), balance, labels):
        count = kept_count(exact, len(ids))
        if balance == "class":
            count = max(1, count)
        elif count == 0:
            raise InvalidValue(
                f"fraction {fraction} of {len(ids):,} samples keeps nothing; the least is {0.5 / len(ids):.3g}"
            )
        if exclude is not None:
            num_candidates, ids = len(ids), np.setdiff1d(ids, exclude, assume_unique=True)
            if count > len(ids):
                where = "" if balance == "none" else " of a class"
                raise InvalidValue(
                    f"fraction {fraction} keeps {count:,} of {num_candidates:,} samples{where}, of which {len(ids):,} are "
                    "left without the excluded ones"
                )
        pools.append(Pool(ids, values[ids], count, exact, seed, resolved, None if per_sample is None else per_sample[ids]))
    if rule.check is not None:
        rule.check(pools)
    kept = np.concatenate([pool.ids[rule.choose(pool)] for pool in pools])
    kept = kept[~np.isin(kept, scores.meta.unreadable or ())]  # grey placeholders of corrupt images
    if not kept.size:
        raise InvalidValue(f"fraction {fraction} keeps nothing but images that cannot be read; keep more")
    meta = SubsetMetadata(
        **common_fields(scores.meta),
        scorer="random" if strategy == "random" else scores.scorer,
        fraction=float(exact),
        kept=len(kept),
        strategy=strategy,
        balance=balance,
        seed=seed,
        scores=scores.meta,
        settings=dict(resolved) or None,
        recording=None if per_sample is None or evidence is None else str(evidence.folder),
        embeddings=None if per_sample is None or embeddings is None else embeddings.record,
        excluded=None if exclude is None else len(exclude),
    )
    return Subset(np.sort(kept), meta)


def open_embeddings_for(
    strategy: Strategy, scores: Scores, embeddings: OwnEmbeddings | NDArray[Any] | str | Path | None
) -> OwnEmbeddings | None:
    """The embeddings that a strategy reads instead of a recording's; None: none are given.

    Where the scores were made from a file of embeddings, a strategy that reads embeddings reads that file.

    Raises:
        InvalidValue: the strategy reads none, or they cannot be read. InvalidFile: they are missing or broken.
        IncompatibleInputs: of another number of samples, or not those that the scores were made from any more.
    """
    total, made_from = scores.meta.total, scores.meta.embeddings
    if embeddings is not None:
        if strategy.evidence_kind != "embeddings":
            raise InvalidValue(f"strategy '{strategy.name}' reads no embeddings", parameter="embeddings")
        return open_embeddings(embeddings, total)
    if strategy.evidence_kind != "embeddings" or made_from is None or made_from.path is None:
        return None
    opened = open_embeddings(made_from.path, total)
    if opened.record.sha256 != made_from.sha256:
        raise IncompatibleInputs(
            f"{made_from.path} was changed since these scores were made from it; score again, or name the embeddings",
            parameter="embeddings",
        )
    return opened


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
        raise _missing_evidence(strategy, scores)
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


def _groups(total: int, balance: Balance, labels: NDArray[np.int64] | None) -> list[NDArray[np.int64]]:
    """The pools of ids, each rising: one of all ids, or one a class."""
    if balance == "none":
        return [np.arange(total)]
    if labels is None:
        raise InvalidValue("balance 'class' needs the labels of the training set")
    if len(labels) != total:
        raise IncompatibleInputs(f"{len(labels):,} labels, but the scores are of {total:,} samples")
    by_label = np.argsort(labels, kind="stable")
    return np.split(by_label, np.flatnonzero(np.diff(labels[by_label])) + 1)


def _read(
    rule: Strategy, scores: Scores, evidence: EvidenceSource | OwnEmbeddings | None, settings: Mapping[str, int | float]
) -> NDArray[Any] | None:
    """The evidence that a strategy reads, one row a sample; refuses scores and evidence that it cannot compute with."""
    if rule.needs_finite_scores and not np.isfinite(scores.values).all():
        bad_ids = np.flatnonzero(~np.isfinite(scores.values))
        raise InvalidValue(
            f"strategy '{rule.name}' computes with the scores, and that of id {bad_ids[0]} is {scores.values[bad_ids[0]]} "
            f"({bad_ids.size:,} such); top, random and window do not"
        )
    if rule.read_evidence is None:
        return None
    if evidence is None:
        raise _missing_evidence(rule, scores)
    if isinstance(evidence, OwnEmbeddings):
        return evidence.features
    per_sample = rule.read_evidence(evidence, settings)
    if len(per_sample) != len(scores.values):
        raise IncompatibleInputs(
            f"the recording has {rule.evidence_kind} of {len(per_sample):,} samples, the scores are of "
            f"{len(scores.values):,}"
        )
    with np.errstate(invalid="ignore"):
        sums = per_sample if per_sample.ndim == 1 else per_sample.sum(axis=1, dtype=np.float64)  # finite if the row is
    bad_ids = np.flatnonzero(~np.isfinite(sums))
    if bad_ids.size:
        raise InvalidValue(
            f"the recording's {rule.evidence_kind} are not finite for {bad_ids.size:,} samples, the first is id {bad_ids[0]}"
        )
    return per_sample


def _missing_evidence(strategy: Strategy, scores: Scores) -> InvalidValue:
    embeddings = ", or a file of embeddings" if strategy.evidence_kind == "embeddings" else ""
    return InvalidValue(
        f"strategy '{strategy.name}' reads {strategy.evidence_kind}, and these scores (scorer {scores.scorer}) name "
        f"no recording; score by forgetting to make one, or name the folder of a recording{embeddings}",
        parameter="recording",
    )
