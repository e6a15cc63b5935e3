"""The search for the KD weight within a run: probes branch off half way and determine the weight to continue with.

The first half, the shared prefix, trains with the prior weight. From its end a short probe for each candidate lowers the
learning rate to zero within a few steps, and is evaluated on the validation set. A probe that starts half way says more than
a pilot of the same length from scratch (measured in `benchmarks/probes.py`), and the shared prefix is not lost: it is the
first half of the run.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.data.batching import batch_sizes
from datapruning.io.trial_store import TrialConfig, TrialStore
from datapruning.models.flops import network_flops
from datapruning.runs.context import Context
from datapruning.runs.run import Run
from datapruning.runs.training_records import KDSearch, ProbeResult
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.training_run import TrainingRun
from datapruning.training.distillation.weight_search import (
    Candidate,
    Probes,
    ValidationSet,
    choose_validation_set,
    decide,
    evaluate_probe,
    probe_budget,
    search_cost,
)
from datapruning.training.evaluate import decode_bits, encode_bits, predict_correct
from datapruning.training.losses import CrossEntropy, DistillationLoss, Loss, SoftLabels
from datapruning.training.schedules import learning_rate, planned_epochs, planned_steps
from datapruning.training.state import TrainState
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost
from datapruning.utils.hashing import config_hash

PREFIX, PREFIX_PROGRESS = "shared-prefix", "shared-prefix-progress"
"""Checkpoints: the state at the end of the shared prefix, and the one that its training resumes from."""


@dataclass(frozen=True)
class SearchPlan:
    """Where probes branch off, and how long they are.

    `ids` int64 are what shared prefix and probes train on: the kept samples without the held-out ones. The run has
    `num_steps` and sees about `num_samples`.
    """

    validation: ValidationSet
    ids: NDArray[np.int64]
    prefix_epochs: int
    prefix_steps: int
    num_steps: int
    probe_steps: int
    num_samples: int


def plan_search(training_run: TrainingRun, num_probes: int, *, subset_is_random: bool) -> SearchPlan | None:
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
    steps_per_epoch = len(batch_sizes(len(kept), training.effective_batch_size))
    samples = math.ceil(num_steps * len(kept) / steps_per_epoch)
    cost = search_cost(kd.search_budget, samples)
    count, probe_samples = probe_budget(cost, samples, num_probes, kd.max_validation_samples)
    validation = choose_validation_set(
        kept, data.total, count, training_run.seed, subset_is_random=subset_is_random, unreadable=data.corrupt_ids
    )
    ids = np.setdiff1d(kept, validation.held_out_ids)
    prefix_steps_per_epoch = len(batch_sizes(len(ids), training.effective_batch_size))
    prefix_epochs = min(epochs - 1, max(1, round(kd.search_start * epochs)))
    prefix_steps = prefix_epochs * prefix_steps_per_epoch
    num_steps -= prefix_epochs * (steps_per_epoch - prefix_steps_per_epoch)
    probe_steps = min(num_steps - prefix_steps, max(1, round(probe_samples * steps_per_epoch / len(kept))))
    return SearchPlan(validation, ids, prefix_epochs, prefix_steps, num_steps, probe_steps, samples)


def loss_for(context: Context, labels: Sequence[SoftLabels], candidate: Candidate) -> Loss:
    """The loss of a candidate: with the soft labels of its teacher, or cross-entropy."""
    smoothing = context.recipe.train.label_smoothing
    if not labels or candidate.labels_only:
        return CrossEntropy(smoothing)
    return DistillationLoss(
        labels[candidate.teacher], candidate.weight, candidate.temperature, smoothing,
        confidence_weighting=candidate.confidence_weighting,
    )  # fmt: skip


def search(
    training_run: TrainingRun,
    plan: SearchPlan,
    labels: Sequence[SoftLabels],
    candidates: Sequence[Candidate],
    prior: Candidate,
) -> tuple[Candidate, KDSearch]:
    """Train the shared prefix with the prior, unless its checkpoint exists; probe the candidates; decide.

    Checkpoints and probes lie in the run folder (`checkpoint/`, `search/`), so a killed search resumes. `labels` are those
    of each candidate teacher, filled for the kept samples. Returns the candidate that is chosen, and the record of the
    search.
    """
    context, run, validation = training_run.context, training_run.run, plan.validation
    prefix = Checkpoint(run.checkpoint_path(PREFIX))
    if not prefix.path.exists():
        trainer = training_run.trainer(
            training_run.training, plan.ids, loss_for(context, labels, prior), num_steps=plan.num_steps,
            description=f"student, first {plan.prefix_epochs} epochs", callbacks=training_run.callbacks,
        )  # fmt: skip
        progress = Checkpoint(run.checkpoint_path(PREFIX_PROGRESS))
        trainer.fit(progress, save_final_to=prefix, stop_epoch=plan.prefix_epochs)
    info(
        f"KD weight: after {plan.prefix_epochs} epochs, {len(candidates)} probes of {plan.probe_steps} steps "
        f"(the run has {plan.num_steps:,}), validated on {len(validation.ids):,} {validation.kind} samples"
    )
    store = TrialStore(run.folder / "search", {"run": "probes of the run beside"})
    results, correct, num_evaluated, flops = list[ProbeResult](), [], 0, 0
    for candidate in candidates:
        trial = store.run(asdict(candidate), partial(_train_probe, training_run, plan, labels, candidate))
        assert trial is not None  # run() waits for a trial of another process
        _probe_checkpoint(run, candidate).remove()
        correct.append(decode_bits(trial.result["correct"], len(validation.ids)))
        num_evaluated += trial.result.get("evaluated", 0)
        flops += trial.result["flops"]
        result = evaluate_probe(candidate, correct[-1], validation.weights, trial.result["samples_seen"], trial.seconds)
        results.append(result)
        info(f"  KD weight {candidate}: {result.accuracy:.2f}% ± {result.stderr:.2f}, {trial.seconds:.1f} s")
    decided, curve = decide(Probes(candidates, np.array(correct, np.bool_), validation.weights), prior)
    num_evaluated += len(candidates) * len(validation.ids)
    cost = ComputeCost(sum(result.samples_seen for result in results), num_evaluated)
    trainings = round(cost.training_passes / (plan.num_samples * context.recipe.self_distill.compute), 4)
    info(f"KD weight {decided} is chosen; the search cost {trainings:.2f} trainings")
    return decided, KDSearch(
        **asdict(decided), method="probes from the shared prefix", probes=tuple(results), curve=curve,
        validation=validation.kind, validation_size=len(validation.ids), samples_seen=cost.samples_seen,
        evaluated=cost.evaluated, flops=flops, cost=trainings,
    )  # fmt: skip


def _train_probe(
    training_run: TrainingRun, plan: SearchPlan, labels: Sequence[SoftLabels], candidate: Candidate, _: TrialConfig
) -> dict[str, Any]:
    context, run = training_run.context, training_run.run
    rate = learning_rate(training_run.training, plan.prefix_steps, plan.num_steps)
    training = training_run.training.replace(infobatch=0.0)  # too few steps to skip any
    trainer = training_run.trainer(
        training, plan.ids, loss_for(context, labels, candidate), num_steps=plan.prefix_steps + plan.probe_steps,
        description=f"probe, KD weight {candidate}",
        lr_schedule=lambda step: rate * (1 - (step - plan.prefix_steps + 0.5) / plan.probe_steps),
    )  # fmt: skip
    prefix = Checkpoint(run.checkpoint_path(PREFIX))
    end, start = trainer.fit(_probe_checkpoint(run, candidate), init_from=prefix), prefix.state()
    return {
        "correct": encode_bits(predict_correct(trainer.model, trainer.loader, plan.validation.ids, context.views)),
        "samples_seen": _training_passes(end) - _training_passes(start),
        "evaluated": end.auxiliary_forward - start.auxiliary_forward,
        "flops": end.flops - start.flops + network_flops(trainer.model) * len(plan.validation.ids),
    }


def _probe_checkpoint(run: Run, candidate: Candidate) -> Checkpoint:
    """The checkpoint that a killed probe resumes from."""
    return Checkpoint(run.checkpoint_path(f"probe-{config_hash(asdict(candidate))}"))


def _training_passes(state: TrainState) -> int:
    """Training passes with those that dynamic pruning left out: a search costs what it costs without pruning."""
    return state.samples_seen + state.samples_skipped + state.auxiliary_samples
