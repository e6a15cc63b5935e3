"""`dp.WeightSearch`: the search of `--kd-weight auto` for a training loop that is not ours (docs/your-own-loop.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from datapruning.config.kd import KDConfig
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.runs.training_records import Augmentation, Candidate, CurvePoint, ProbeResult
from datapruning.training.distillation.candidate_search import CandidateSearch, Proposal
from datapruning.training.distillation.candidates import TEMPERATURES, all_candidates
from datapruning.training.distillation.logit_array import Logits, as_soft_labels
from datapruning.training.distillation.loop_values import (
    State,
    check_candidates,
    check_classes,
    check_state,
    copy_state,
    to_correct,
    to_integers,
    to_weights,
)  # fmt: skip
from datapruning.training.distillation.prior import measure_regime, propose
from datapruning.training.distillation.response import evaluate_probe, response_curve
from datapruning.training.distillation.training_steps import TrainingSteps
from datapruning.training.distillation.validation import ValidationSet, choose_validation_set, probe_budget, search_cost
from datapruning.training.evaluate import decode_bits, encode_bits
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost
from datapruning.utils.hashing import config_hash

Train = Callable[[Candidate, State | None, TrainingSteps], State]
Evaluate = Callable[[State], ArrayLike | Tensor]


@dataclass(frozen=True)
class WeightDecision(Generic[State]):
    """What a search has chosen, and why. `str(decision)` says it in a line.

    Attributes:
        chosen: the candidate to train the rest with.
        proposed: what the prior proposed, and the shared prefix was trained with.
        predicted: of every candidate, the accuracy in percent that is expected of it on the validation samples.
        probes: the accuracies that were measured, with their standard errors.
        curve: the predicted response to the KD weight, everything else as chosen.
        cost: of the search, in trainings; the shared prefix is part of the training and costs nothing.
        state: at the end of the shared prefix.
        remaining: the steps that are left: `train(decision.chosen, decision.state, decision.remaining)`.
    """

    chosen: Candidate
    proposed: Candidate
    predicted: Mapping[Candidate, float]
    probes: tuple[ProbeResult, ...]
    curve: tuple[CurvePoint, ...]
    cost: float
    state: State
    remaining: TrainingSteps
    summary: str

    def __str__(self) -> str:
        return self.summary


class WeightSearch:
    """Finds the KD weight, and what else is searched, half way through a training (docs/kd-weight.md).

        search = dp.WeightSearch(teacher_logits, labels, kept_ids, num_steps=2000, batch_size=64)
        decision = search.run(train, evaluate, validation_labels)
        state = train(decision.chosen, decision.state, decision.remaining)

    Args:
        soft_labels: what `dp.soft_labels` returns, or the teacher's logits, float [N, classes] by sample id; of several
            candidate teachers, those of the first.
        labels: int64 [N], of the full training set.
        kept_ids: int64, the samples that the student is trained on.
        num_steps: training steps of the student.
        batch_size: samples of a training step.
        temperatures: to choose from; name a single one where yours is fixed.
        augmentations: to choose from, where your loop can do them: "recipe" is your own, "resized" random resized crops in
            place of its crops, "cutmix" adds CutMix, "resized and cutmix" both.
        resized_crops: whether your own augmentation has random resized crops.
        teacher_ages: one number for each candidate teacher: the share of its training after which its weights were kept.
        search_start: share of the steps after which probes branch off.
        search_budget: what the search may cost, in trainings that see a million samples; smaller ones may pay up to 0.6.
        max_probes: the largest number of probes.

    Raises:
        InvalidValue: numbers outside what is allowed, or soft labels, labels and ids that do not fit.
    """

    def __init__(
        self,
        soft_labels: Logits | ArrayLike | Tensor,
        labels: ArrayLike | Tensor,
        kept_ids: ArrayLike | Tensor,
        *,
        num_steps: int,
        batch_size: int,
        temperatures: Sequence[float] = TEMPERATURES,
        augmentations: Sequence[Augmentation] = ("recipe",),
        resized_crops: bool = False,
        teacher_ages: Sequence[float] = (1.0,),
        search_start: float = 0.5,
        search_budget: float = 0.3,
        max_probes: int = 6,
    ) -> None:
        if num_steps < 2 or batch_size < 1:
            raise InvalidValue(f"a search needs at least 2 steps and batches of a sample; got {num_steps} and {batch_size}")
        KDConfig(search_start=search_start, search_budget=search_budget, max_probes=max_probes)  # checks them
        check_candidates(temperatures, augmentations, teacher_ages, resized_crops=resized_crops)
        self._labels, self._kept = to_integers(labels, "labels"), np.unique(to_integers(kept_ids, "kept_ids"))
        if self._kept[-1] >= len(self._labels):
            raise InvalidValue(f"kept_ids are positions in the {len(self._labels):,} labels; got {self._kept[-1]:,}")
        source, self._samples = as_soft_labels(soft_labels), num_steps * batch_size
        classes = source[self._kept[:1], 0].shape[-1]
        check_classes(self._labels, classes)
        regime = measure_regime(source, self._labels, self._kept, self._samples / len(self._kept), classes)
        space = all_candidates(augmentations, temperatures, len(teacher_ages))
        initial, expected = propose("", space, regime, recipe_resized=resized_crops, teacher_ages=teacher_ages)
        self.proposal = Proposal(initial, space, expected, regime, ())
        self._batch_size, self._num_steps = batch_size, num_steps
        self._max_probes = min(len(space), max_probes)
        self._budget = search_cost(search_budget, self._samples)
        start = min(num_steps - 1, max(1, round(search_start * num_steps)))
        self.prefix, self.remaining = TrainingSteps(0, start), TrainingSteps(start, num_steps)

    def choose_validation_set(self, *, subset_is_random: bool, seed: int = 0) -> ValidationSet:
        """Validation samples of the training set, as many as the budget pays for: `ids`, their `weights`, `held_out_ids`.

        They are pruned-away ones and, unless `subset_is_random`, kept ones, `held_out_ids`, which the shared prefix and the
        probes must not be trained on.

        Raises:
            InvalidValue: too few samples are kept.
        """
        count = probe_budget(self._budget, self._samples, self._max_probes, KDConfig().max_validation_samples)[0]
        return choose_validation_set(self._kept, len(self._labels), count, seed, subset_is_random=subset_is_random)

    def probe(self, num_validation: int) -> TrainingSteps:
        """The steps of a probe, where that many samples are validated on."""
        samples = probe_budget(self._budget, self._samples, self._max_probes, num_validation)[1]
        start = self.prefix.stop
        return TrainingSteps(start, min(self._num_steps, start + max(1, samples // self._batch_size)), is_probe=True)

    def cost(self, num_validation: int, num_probes: int | None = None) -> float:
        """What the search costs at most, in trainings: its probes, with a soft label for each sample, and validation."""
        num_probes = self._max_probes if num_probes is None else num_probes
        trained = num_probes * len(self.probe(num_validation)) * self._batch_size
        return ComputeCost(trained, trained + num_probes * num_validation).training_passes / self._samples

    def run(
        self,
        train: Train[State],
        evaluate: Evaluate[State],
        validation_labels: ArrayLike | Tensor,
        validation_weights: ArrayLike | None = None,
        folder: str | Path | None = None,
    ) -> WeightDecision[State]:
        """Train the shared prefix with what the prior proposes, probe candidates, and decide.

        Args:
            train: `train(candidate, state, steps)` trains these steps (see `TrainingSteps`) with the candidate's `weight`,
                `temperature` and so on, and returns the state after them: weights, optimizer and whatever else the next
                steps need. It begins from `state`, or anew where that is None. The learning rate of a step is
                `steps.learning_rate(schedule, step)`.
            evaluate: `evaluate(state)` returns logits or probabilities, float [n, classes], of the validation samples.
            validation_labels: int64 [n]. The student is not trained on these samples before the decision.
            validation_weights: float [n], how much each counts; default: alike.
            folder: where the search is recorded, so that a killed one resumes. `train` then returns the `Path` of a
                checkpoint that it has written. Without a folder a search does not resume.

        Raises:
            InvalidValue: what `train` or `evaluate` returned cannot be used; the message says why.
            IncompatibleInputs: the folder holds another search. InvalidFile: its checkpoint is gone.
        """
        targets = to_integers(validation_labels, "validation_labels")
        weights = to_weights(validation_weights, len(targets))
        probe, cost = self.probe(len(targets)), self.cost(len(targets))
        search = CandidateSearch(self.proposal, weights, self._max_probes, cost / self._max_probes)
        store = None if folder is None else TrialStore(Path(folder), self._identity(targets, weights))
        info(
            f"{self.proposal.describe()}\nKD weight: after {len(self.prefix):,} of {self._num_steps:,} steps, up to "
            f"{search.max_probes} probes of {len(probe):,} steps, validated on {len(targets):,} samples, at most "
            f"{cost:.2f} trainings{'; it does not resume' if store is None else ''}"
        )
        state = self._train_prefix(train, store)
        while (candidate := search.next_candidate()) is not None:

            def run_probe(_: Any, candidate: Candidate = candidate) -> dict[str, str]:
                after = train(candidate, copy_state(state), probe)
                check_state(after, candidate)
                return {"correct": encode_bits(to_correct(evaluate(after), targets, candidate))}

            trial = _run_trial(store, candidate.model_dump(), run_probe)
            correct = decode_bits(trial.result["correct"], len(targets))
            search.add(evaluate_probe(candidate, correct, weights, len(probe) * self._batch_size, trial.seconds), correct)
            result = search.results[-1]
            info(f"  KD weight {candidate}: {result.accuracy:.2f}% ± {result.stderr:.2f}, {result.seconds:.1f} s")
        if search.all_probes_agree:
            info("  all probes predicted alike: make sure that train(...) uses the candidate that it is given")
        return self._decide(search, state, len(targets))

    def _identity(self, targets: NDArray[np.int64], weights: NDArray[np.float64]) -> dict[str, Any]:
        space = [candidate.model_dump() for candidate in self.proposal.space]
        assert self.proposal.regime is not None
        return {
            "kind": "search for a KD weight", "regime": self.proposal.regime.to_json(), "steps": self._num_steps,
            "prefix": len(self.prefix), "probes": self._max_probes, "batch_size": self._batch_size,
            "space": config_hash({"space": space}), "validation labels": config_hash({"labels": targets.tolist()}),
            "validation weights": config_hash({"weights": weights.tolist()}),
        }  # fmt: skip

    def _train_prefix(self, train: Train[State], store: TrialStore | None) -> State:
        initial = self.proposal.initial
        if store is None:
            state = train(initial, None, self.prefix)
            check_state(state, initial)
            return copy_state(state)  # a state dictionary changes with its network

        def run_prefix(_: Any) -> dict[str, str]:
            path = train(initial, None, self.prefix)
            if not isinstance(path, Path):
                raise InvalidValue(
                    "where the search has a folder, train(...) returns the Path of its checkpoint; got "
                    f"{type(path).__name__}"
                )
            return {"path": str(path.resolve())}

        path = Path(_run_trial(store, {"shared prefix": initial.model_dump()}, run_prefix).result["path"])
        if not path.exists():
            raise InvalidFile(f"checkpoint {path} of the shared prefix is missing; delete {store.folder} to train it again")
        return path  # type: ignore[return-value]

    def _decide(self, search: CandidateSearch, state: State, num_validation: int) -> WeightDecision[State]:
        proposal, known = self.proposal, search.posterior()
        chosen, cost = proposal.space[known.best], self.cost(num_validation, len(search.results))
        predicted = dict(zip(proposal.space, np.round(known.mean, 4).tolist(), strict=True))
        summary = f"{search.describe_choice(chosen)}; the search cost {cost:.2f} trainings"
        info(summary)
        return WeightDecision(
            chosen, proposal.initial, predicted, tuple(search.results), response_curve(proposal.space, known, chosen),
            round(cost, 4), state, self.remaining, summary,
        )  # fmt: skip


def _run_trial(store: TrialStore | None, config: dict[str, Any], work: Callable[[Any], dict[str, str]]) -> Trial:
    if store is None:
        started = time.perf_counter()
        return Trial(config=config, result=work(config), seconds=round(time.perf_counter() - started, 3))
    trial = store.run(config, work)
    assert trial is not None  # run() waits for a trial of another process
    return trial
