"""Subset ensemble: many networks, each trained on a fraction of the data and evaluated on every sample.

A member is a trial of a trial store: written once, by any process, in any order. The subsets are a pure function of the
seed and the member's number, so more members may be added at any time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from datapruning.config.ensemble import EnsembleConfig
from datapruning.data.batching import MIN_BATCH_SIZE
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.evidence.subset_masks import member_mask
from datapruning.io.atomic import remove_file
from datapruning.io.npz import read_npz, write_npz
from datapruning.io.trial_store import TrialConfig, TrialFn, TrialStore, trial_path
from datapruning.utils.console import info
from datapruning.utils.cost import NO_COST, ComputeCost
from datapruning.utils.plural import plural
from datapruning.utils.records import Record, parse_record

ARRAYS = ("in_subset", "correct", "loss", "margin", "oof_probs", "test_correct")
MAX_CHECKED_SAMPLES = 100
"""Only with fewer samples can a member have too few of them."""
RETRAIN_HINT = "delete it to have it trained again"
MemberTrials = tuple[TrialStore, list[TrialConfig], TrialFn]
"""The store of an ensemble, the configuration of each member, and the function that trains one and writes its file."""


class MemberMetadata(Record):
    """The metadata of a member's file: its number `member` in the ensemble, from 0, and what its arrays are of.

    `total` is N, the number of training samples, `num_test` that of test samples; `cost` is of training and evaluation.
    """

    format: Literal["datapruning.member"] = "datapruning.member"
    version: Literal[1] = 1
    member: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=1)]
    num_test: Annotated[int, Field(ge=0)]
    cost: ComputeCost


class MemberResult(Record):
    """What the trial of a member yields: its cost, and its training accuracy inside and outside its subset, in percent."""

    cost: ComputeCost
    accuracy_in_subset: float
    accuracy_held_out: float


@dataclass(frozen=True)
class Member:
    """The predictions of one network for all samples, in evaluation mode, without augmentation.

    Attributes:
        in_subset: bool [N], whether it was trained on the sample.
        correct: bool [N], whether its prediction is right.
        loss: float32 [N], cross-entropy.
        margin: float32 [N], the label's logit minus the largest other one.
        oof_probs: float16 [held-out samples, classes], in the order of their ids.
        test_correct: bool [test samples], whether its prediction is right.
        cost: compute of training and evaluation.
    """

    in_subset: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    loss: NDArray[np.float32]
    margin: NDArray[np.float32]
    oof_probs: NDArray[np.float16]
    test_correct: NDArray[np.bool_]
    cost: ComputeCost


@dataclass(frozen=True)
class SubsetEnsemble:
    """The trained members, in files that are read one at a time: memory does not grow with their number.

    Attributes:
        paths: the members' files.
        labels: int64 [N].
        cost: compute of all members.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    cost: ComputeCost

    @property
    def total(self) -> int:
        """N, the number of training samples."""
        return len(self.labels)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Member]:
        return (read_member(path, self.total) for path in self.paths)

    def pred_probs(self) -> NDArray[np.float32]:
        """Out-of-sample class probabilities, float32 [N, classes]: of each sample, the mean over members that never saw it.

        Raises:
            InvalidValue: a sample that every member saw, naming it.
        """
        sums: NDArray[np.float64] | None = None
        counts = np.zeros(self.total, np.int64)
        for member in self:
            if sums is None:
                sums = np.zeros((self.total, member.oof_probs.shape[1]))
            sums[~member.in_subset] += member.oof_probs
            counts += ~member.in_subset
        if sums is None or not counts.all():
            sample_id = int(np.flatnonzero(counts == 0)[0])
            raise InvalidValue(f"every member of the ensemble saw sample id {sample_id}; add members (ensemble.num_members)")
        means = sums / counts[:, None]
        return np.asarray(means / means.sum(1, keepdims=True), np.float32)


def member_trials(
    folder: Path,
    labels: NDArray[np.int64],
    ensemble: EnsembleConfig,
    train_member: Callable[[int, NDArray[np.int64]], Member],
    seed: int,
) -> MemberTrials:
    """The members of an ensemble as trials, in a folder of this ensemble alone, which the caller names by its configuration.

    Raises InvalidValue where a member would have too few samples to train on, or none that it does not see.

    `train_member` makes of a member's number and the ids of its subset the member; its file at `state_path` is removed in
    the end. `labels` are int64 [N]; `seed` is that of the subsets.
    """

    def train(config: TrialConfig) -> Mapping[str, Any]:
        number = config["member"]
        ids = np.flatnonzero(member_mask(number, labels, ensemble.subset_fraction, seed))
        member = train_member(number, ids)
        write_member(member_path(folder, number), member, number)
        return MemberResult(
            cost=member.cost,
            accuracy_in_subset=100 * float(member.correct[member.in_subset].mean()),
            accuracy_held_out=100 * float(member.correct[~member.in_subset].mean()),
        ).to_json()

    total = len(labels)
    for number in range(ensemble.num_members if total <= MAX_CHECKED_SAMPLES else 0):
        size = int(member_mask(number, labels, ensemble.subset_fraction, seed).sum())
        if not MIN_BATCH_SIZE <= size < total:
            raise InvalidValue(
                f"{total} samples are too few for an ensemble: member {number} would be trained on {size} of them; each "
                f"takes {MIN_BATCH_SIZE} or more, and leaves one or more out (ensemble.subset_fraction)"
            )
    store = TrialStore(folder, {"subset_fraction": ensemble.subset_fraction, "total": total})
    return store, [{"member": number} for number in range(ensemble.num_members)], train


def record_ensemble(trials: MemberTrials, labels: NDArray[np.int64]) -> SubsetEnsemble:
    """Train the members that are missing and open all of them. Any number of processes may do so at once."""
    store, configs, train = trials
    folder, missing = store.folder, [config for config in configs if store.get(config) is None]
    if missing:
        info(f"ensemble: {len(missing)} of {len(configs)} members to train")
        store.run_all(configs, train, label="member")
    for config in configs:  # not before: a member whose trial is not written yet is trained again
        remove_file(state_path(folder, config["member"]))
    finished = [trial for config in configs if (trial := store.get(config))]
    results = [parse_record(MemberResult, trial.result, str(folder)) for trial in finished]
    accuracy = np.mean([result.accuracy_in_subset for result in results])
    info(f"ensemble: {plural(len(results), 'member')} in {folder}, {accuracy:.1f}% training accuracy on their subsets")
    cost = sum((result.cost for result in results), NO_COST)
    return SubsetEnsemble(tuple(member_path(folder, config["member"]) for config in configs), labels, cost)


def finished_files(num_members: int) -> list[Path]:
    """The files that the folder of an ensemble has when so many members are finished, relative to it."""
    numbers = range(num_members)
    return [*(member_path(Path(), n) for n in numbers), *(trial_path(Path(), {"member": n}) for n in numbers)]


def member_path(folder: Path, number: int) -> Path:
    """The file of a member."""
    return folder / "members" / f"{number:05d}.npz"


def state_path(folder: Path, number: int) -> Path:
    """The checkpoint of a member's training."""
    return member_path(folder, number).with_suffix(".state.safetensors")


def write_member(path: Path, member: Member, number: int) -> None:
    """Write a member's file, whole or not at all."""
    arrays: dict[str, NDArray[Any]] = {
        "in_subset": np.packbits(member.in_subset), "correct": np.packbits(member.correct), "loss": member.loss,
        "margin": member.margin, "oof_probs": member.oof_probs, "test_correct": np.packbits(member.test_correct),
    }  # fmt: skip
    metadata = MemberMetadata(
        member=number, total=len(member.in_subset), num_test=len(member.test_correct), cost=member.cost
    )
    write_npz(path, arrays, metadata.to_json())


def read_member(path: Path, total: int) -> Member:
    """Read and check a member's file.

    Raises:
        InvalidFile: missing, broken, or of another number of training samples than `total`.
    """
    arrays, meta = read_npz(path, "an ensemble member's", ARRAYS)
    metadata = parse_record(MemberMetadata, meta, str(path))
    if metadata.total != total:
        raise InvalidFile(f"{path} is not an ensemble member of {total:,} samples; {RETRAIN_HINT}")
    try:
        member = Member(
            _unpack_bits(arrays["in_subset"], total), _unpack_bits(arrays["correct"], total), arrays["loss"],
            arrays["margin"], arrays["oof_probs"], _unpack_bits(arrays["test_correct"], metadata.num_test), metadata.cost,
        )  # fmt: skip
    except (KeyError, ValueError):
        raise InvalidFile(f"{path} is not a whole ensemble member; {RETRAIN_HINT}") from None
    shapes_fit = member.loss.shape == member.margin.shape == (total,)
    shapes_fit &= member.oof_probs.ndim == 2 and len(member.oof_probs) == int((~member.in_subset).sum())
    floats = (member.loss, member.margin, member.oof_probs)
    if not shapes_fit or not all(a.dtype.kind == "f" and bool(np.isfinite(a).all()) for a in floats):
        raise InvalidFile(f"{path} is not a whole ensemble member; {RETRAIN_HINT}")
    return member


def _unpack_bits(packed: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """`count` truth values, eight to a byte; `unpackbits` alone would pad a short array."""
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise ValueError("of another size")
    return np.unpackbits(packed, count=count).astype(bool)
