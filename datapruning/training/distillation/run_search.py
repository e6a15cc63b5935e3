"""The search of `--kd-weight auto` within a run: a prior proposes, probes branch off half way and correct it.

The first half, the shared prefix, trains with what the prior proposes for the regime. From its end a short probe for each of
a few candidates lowers the learning rate to zero within a few steps, and is evaluated on the validation set. Which candidate
is probed next is decided by the expected improvement under what is known so far. The shared prefix is not lost: it is the
first half of the run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datapruning.io.trial_store import TrialConfig, TrialStore
from datapruning.models.flops import network_flops
from datapruning.runs.context import Context
from datapruning.runs.result import TeachingRecord
from datapruning.runs.training_records import Candidate, KDSearch, ProbeResult
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.candidate_search import CandidateSearch, Proposal
from datapruning.training.distillation.candidates import context_for, loss_for
from datapruning.training.distillation.response import Posterior, evaluate_probe, response_curve
from datapruning.training.distillation.training_run import TrainingRun
from datapruning.training.distillation.training_steps import TrainingSteps
from datapruning.training.distillation.validation import ValidationSet, choose_validation_set, probe_budget, search_cost
from datapruning.training.distributed.sharding import global_batch_sizes
from datapruning.training.evaluate import decode_bits, encode_bits, predict_correct
from datapruning.training.losses import Loss, SoftLabels
from datapruning.training.schedules import learning_rate, planned_epochs, planned_steps
from datapruning.training.state import TrainState
from datapruning.utils.console import info
from datapruning.utils.cost import NO_COST, ComputeCost
from datapruning.utils.hashing import config_hash

PREFIX, PREFIX_PROGRESS = "shared-prefix", "shared-prefix-progress"
"""Checkpoints: the state at the end of the shared prefix, and the one that its training resumes from."""


class LabelSource(Protocol):
    """Makes soft labels of candidate teachers when they are needed; training knows no more about teachers."""

    @property
    def num_teachers(self) -> int:
        """Number of candidate teachers; 0: there are none."""
        ...

    @property
    def teacher_ages(self) -> Sequence[float]:
        """Of each candidate teacher, the share of its training after which its weights were kept; 1: all of it."""
        ...

    @property
    def cost(self) -> ComputeCost:
        """Of all labels that were asked for so far."""
        ...

    def record(self, chosen: int, other_labels: ComputeCost) -> TeachingRecord:
        """The teachers, of which number `chosen` teaches, and the cost of their labels without `other_labels`."""
        ...

    def labels(self, context: Context, ids: NDArray[np.int64], teacher: int, epochs: range) -> SoftLabels:
        """The soft labels of a candidate teacher, filled for `ids` int64 in the context's views of these epochs."""
        ...


@dataclass(frozen=True)
class SearchPlan:
    """Where probes branch off, and how long they are.

    `ids` int64 are what shared prefix and probes train on: the kept samples without the held-out ones. The run has
    `num_steps` and sees about `num_samples`; `cost`, in trainings, is the most that all probes cost together.
    """

    validation: ValidationSet
    ids: NDArray[np.int64]
    prefix_epochs: int
    prefix_steps: int
    num_steps: int
    probe_steps: int
    probe_epochs: int
    num_samples: int
    cost: float


def plan_search(training_run: TrainingRun, space_size: int, *, subset_is_random: bool) -> SearchPlan | None:
    """Plan a search; None where the run has a single epoch, in which there is no half way.

    `subset_is_random`: whether kept and pruned-away samples differ by chance alone.

    Raises:
        InvalidValue: too few samples.
    """
    training, kept, kd = training_run.training, training_run.ids, training_run.context.recipe.kd
    data = training_run.context.data
    epochs, num_steps = planned_epochs(training, len(kept), data.total), planned_steps(training, len(kept), data.total)
    if epochs < 2:
        return None
    steps_per_epoch = len(global_batch_sizes(len(kept), training))
    samples = math.ceil(num_steps * len(kept) / steps_per_epoch)
    cost = search_cost(kd.search_budget, samples)
    count, probe_samples = probe_budget(cost, samples, min(space_size, kd.max_probes), kd.max_validation_samples)
    validation = choose_validation_set(
        kept, data.total, count, training_run.seed, subset_is_random=subset_is_random, unreadable=data.corrupt_ids
    )
    ids = np.setdiff1d(kept, validation.held_out_ids)
    prefix_steps_per_epoch = len(global_batch_sizes(len(ids), training))
    prefix_epochs = min(epochs - 1, max(1, round(kd.search_start * epochs)))
    prefix_steps = prefix_epochs * prefix_steps_per_epoch
    num_steps -= prefix_epochs * (steps_per_epoch - prefix_steps_per_epoch)
    probe_steps = min(num_steps - prefix_steps, max(1, round(probe_samples * steps_per_epoch / len(kept))))
    return SearchPlan(
        validation, ids, prefix_epochs, prefix_steps, num_steps, probe_steps,
        math.ceil(probe_steps / prefix_steps_per_epoch), samples, cost,
    )  # fmt: skip


class Search:
    """The search of one run. Checkpoints and probes lie in the run folder (`checkpoint/`, `search/`), so a killed one
    resumes.
    """

    def __init__(self, training_run: TrainingRun, plan: SearchPlan, source: LabelSource, proposal: Proposal) -> None:
        self._training_run, self._plan, self._source, self._proposal = training_run, plan, source, proposal
        self._store = TrialStore(training_run.run.folder / "search", {"run": "probes of the run beside"})
        self._prefix = Checkpoint(training_run.run.checkpoint_path(PREFIX))
        self._probe_steps = TrainingSteps(plan.prefix_steps, plan.prefix_steps + plan.probe_steps, is_probe=True)

    def run(self) -> tuple[Candidate, KDSearch]:
        """Train the shared prefix with the proposal, unless its checkpoint exists; probe candidates; decide.

        Returns the candidate that is chosen, and the record of the search without its views.
        """
        plan, proposal, validation = self._plan, self._proposal, self._plan.validation
        search = self._candidate_search()
        self._train_prefix()
        info(
            f"KD weight: after {plan.prefix_epochs} epochs, up to {search.max_probes} probes of "
            f"{plan.probe_steps} steps (the run has {plan.num_steps:,}), validated on {len(validation.ids):,} "
            f"{validation.kind} samples"
        )
        cost, labels_cost = NO_COST, dict[tuple[str, int], ComputeCost]()
        while (candidate := search.next_candidate()) is not None:
            before = self._source.cost
            result, correct, probe_cost = self._probe(candidate)
            kind = candidate.augmentation, candidate.teacher
            spent = replace(self._source.cost - before, seconds=0.0)  # they are counted with all other labels
            labels_cost[kind] = labels_cost.get(kind, NO_COST) + spent
            search.add(result, correct)
            cost += probe_cost
        known = search.posterior()
        chosen = proposal.space[known.best]
        of_chosen = chosen.augmentation, chosen.teacher  # whose labels are part of the run
        labels = sum((spent for kind, spent in labels_cost.items() if kind != of_chosen), NO_COST)
        cost += labels
        trainings = round(cost.training_passes / (plan.num_samples * self._context.recipe.self_distill.compute), 4)
        info(f"{search.describe_choice(chosen)}; the search cost {trainings:.2f} trainings")
        return chosen, KDSearch(
            **dict(chosen), proposed=proposal.initial, regime=proposal.regime, held=proposal.held,
            num_views=self._context.recipe.views.num_views, probes=tuple(search.results),
            curve=response_curve(proposal.space, known, chosen), validation=validation.kind,
            validation_size=len(validation.ids), early_teacher_gain=self._early_gain(known), labels=labels,
            samples_seen=cost.samples_seen, evaluated=cost.evaluated, flops=cost.flops or 0, cost=trainings,
        )  # fmt: skip

    def _candidate_search(self) -> CandidateSearch:
        plan, max_probes = self._plan, self._context.recipe.kd.max_probes
        probe_cost = plan.cost / min(len(self._proposal.space), max_probes)
        if self._source.teacher_ages.count(1.0) > 1:
            probe_cost = 0.0  # who names several teachers to choose from wants them compared
        return CandidateSearch(self._proposal, plan.validation.weights, max_probes, probe_cost)

    def _early_gain(self, known: Posterior) -> float | None:
        """By how many points the chosen teacher is expected to be better than the first, where it is an early one."""
        space, chosen = self._proposal.space, self._proposal.space[known.best]
        if self._source.teacher_ages[chosen.teacher] == 1 or chosen.labels_only:
            return None
        finished = space.index(chosen.model_copy(update={"teacher": 0}))
        return round(float(known.mean[known.best] - known.mean[finished]), 2)

    @property
    def _context(self) -> Context:
        return self._training_run.context

    def _train_prefix(self) -> None:
        plan, initial = self._plan, self._proposal.initial
        loss = self._loss(initial, range(plan.prefix_epochs))  # its labels are counted in a resumed run, too
        if self._prefix.path.exists():
            return
        training_run = self._run_of(initial)
        trainer = training_run.trainer(
            training_run.training, plan.ids, loss, num_steps=plan.num_steps,
            description=f"student, first {plan.prefix_epochs} epochs", callbacks=training_run.callbacks,
        )  # fmt: skip
        progress = Checkpoint(training_run.run.checkpoint_path(PREFIX_PROGRESS))
        trainer.fit(progress, save_final_to=self._prefix, stop_epoch=plan.prefix_epochs)

    def _probe(self, candidate: Candidate) -> tuple[ProbeResult, NDArray[np.bool_], ComputeCost]:
        """The result of a probe, the validation samples that it got right (bool), and its cost without soft labels."""
        plan, validation = self._plan, self._plan.validation
        loss = self._loss(candidate, range(plan.prefix_epochs, plan.prefix_epochs + plan.probe_epochs))
        trial = self._store.run(candidate.model_dump(), partial(self._train_probe, candidate, loss))
        assert trial is not None  # run() waits for a trial of another process
        _probe_checkpoint(self._training_run, candidate).remove()
        correct = decode_bits(trial.result["correct"], len(validation.ids))
        samples_seen = trial.result["samples_seen"]
        result = evaluate_probe(candidate, correct, validation.weights, samples_seen, trial.seconds)
        info(f"  KD weight {candidate}: {result.accuracy:.2f}% ± {result.stderr:.2f}, {trial.seconds:.1f} s")
        num_evaluated, flops = trial.result["evaluated"] + len(validation.ids), trial.result["flops"]
        return result, correct, ComputeCost(samples_seen, num_evaluated, flops=flops)

    def _train_probe(self, candidate: Candidate, loss: Loss, _: TrialConfig) -> dict[str, Any]:
        plan, training_run = self._plan, self._run_of(candidate)
        schedule = partial(learning_rate, training_run.training, steps=plan.num_steps)
        training = training_run.training.replace(infobatch=0.0)  # too few steps to skip any
        trainer = training_run.trainer(
            training, plan.ids, loss, num_steps=self._probe_steps.stop,
            description=f"probe, KD weight {candidate}", lr_schedule=partial(self._probe_steps.learning_rate, schedule),
        )  # fmt: skip
        end, start = trainer.fit(_probe_checkpoint(training_run, candidate), init_from=self._prefix), self._prefix.state()
        return {
            "correct": encode_bits(
                predict_correct(trainer.model, trainer.loader, plan.validation.ids, training_run.context.views)
            ),
            "samples_seen": _training_passes(end) - _training_passes(start),
            "evaluated": end.auxiliary_forward - start.auxiliary_forward,
            "flops": end.flops - start.flops + network_flops(trainer.model) * len(plan.validation.ids),
        }

    def _run_of(self, candidate: Candidate) -> TrainingRun:
        return replace(self._training_run, context=context_for(self._context, candidate))

    def _loss(self, candidate: Candidate, epochs: range) -> Loss:
        context = context_for(self._context, candidate)
        return loss_for(context, teacher_labels(self._source, context, self._training_run.ids, candidate, epochs), candidate)


def teacher_labels(
    source: LabelSource | None, context: Context, ids: NDArray[np.int64], candidate: Candidate, epochs: range
) -> SoftLabels | None:
    """The soft labels that a candidate needs in these epochs; None where labels alone teach."""
    if source is None or candidate.labels_only:
        return None
    if context.recipe.self_distill.method == "dlb":  # it repeats batches in views of other epochs
        epochs = range(planned_epochs(context.recipe.train, len(ids), context.data.total))
    return source.labels(context, ids, candidate.teacher, epochs)


def _probe_checkpoint(training_run: TrainingRun, candidate: Candidate) -> Checkpoint:
    """The checkpoint that a killed probe resumes from."""
    return Checkpoint(training_run.run.checkpoint_path(f"probe-{config_hash(candidate.model_dump())}"))


def _training_passes(state: TrainState) -> int:
    """Training passes with those that dynamic pruning left out: a search costs what it costs without pruning."""
    return state.samples_seen + state.samples_skipped + state.auxiliary_samples
