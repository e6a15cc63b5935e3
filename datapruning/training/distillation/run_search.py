"""`--kd-weight auto`: a run is forked half way, and copies of it say which KD weight to go on with.

The first half, the trunk, trains with the prior weight. From its end every weight of the grid anneals a copy to rest
within a few updates, a probe, and is judged. A probe that starts half way says far more than a pilot of the same length
from scratch (measured in `benchmarks/probes.py`), and the trunk is not lost: it is the first half of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.config.kd import KDConfig
from datapruning.config.training import TrainConfig
from datapruning.data.batching import batch_sizes
from datapruning.io.trial_store import TrialConfig, TrialStore
from datapruning.runs.context import Context
from datapruning.runs.result import KDSearch
from datapruning.runs.run import Run
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.callbacks import run_callbacks
from datapruning.training.distillation.correctness import decode_bits, encode_bits, predict_correct
from datapruning.training.distillation.weight_search import (
    Candidate,
    ValidationSet,
    choose,
    choose_validation_set,
    evaluate_probe,
    probe_budget,
    search_cost,
)
from datapruning.training.losses import CrossEntropy, DistillationLoss, Loss, SoftLabels
from datapruning.training.schedules import planned_epochs, planned_rate, planned_steps
from datapruning.training.self_distillation.factory import SelfDistillationFactory
from datapruning.training.sparsity.masks import Masks
from datapruning.training.state import TrainState
from datapruning.training.trainer import Trainer
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost
from datapruning.utils.hashing import config_hash


@dataclass(frozen=True)
class SearchPlan:
    """Where a run is forked, and what its probes are.

    Attributes:
        validation: the samples that judge.
        ids: int64, what trunk and probes train on: the kept samples but for those set aside.
        epoch: passes of the trunk.
        step: updates of the trunk.
        steps: updates of the whole run.
        probe_steps: updates of a probe.
        samples: that the whole run sees, about.
    """

    validation: ValidationSet
    ids: NDArray[np.int64]
    epoch: int
    step: int
    steps: int
    probe_steps: int
    samples: int


def plan_search(
    training: TrainConfig, kd: KDConfig, kept: NDArray[np.int64], total: int, seed: int, *, probes: int,
    subset_is_random: bool, unreadable: Sequence[int] = (),
) -> SearchPlan | None:  # fmt: skip
    """None where the run has a single epoch: it has no middle.

    Args:
        training: of the run.
        kd: cost and size of the search.
        kept: sample ids of the subset.
        total: N.
        seed: of the run.
        probes: how many.
        subset_is_random: kept and pruned-away samples differ by chance alone.
        unreadable: sample ids that judge nothing.

    Raises:
        InvalidValue: too few samples.
    """
    epochs = planned_epochs(training, len(kept), total)
    steps = planned_steps(training, len(kept), total)
    if epochs < 2:
        return None
    per_epoch = len(batch_sizes(len(kept), training.effective_batch_size))
    samples = math.ceil(steps * len(kept) / per_epoch)
    count, probe_samples = probe_budget(search_cost(kd.search_budget, samples), samples, probes, kd.max_validation_samples)
    judges = choose_validation_set(kept, total, count, seed, subset_is_random=subset_is_random, unreadable=unreadable)
    ids = np.setdiff1d(kept, judges.held_out_ids)
    of_trunk = len(batch_sizes(len(ids), training.effective_batch_size))
    epoch = min(epochs - 1, max(1, round(kd.search_start * epochs)))
    step, steps = epoch * of_trunk, steps - epoch * (per_epoch - of_trunk)
    probe = min(steps - step, max(1, round(probe_samples * per_epoch / len(kept))))
    return SearchPlan(judges, ids, epoch, step, steps, probe, samples)


def loss_for(context: Context, labels: Sequence[SoftLabels], arm: Candidate) -> Loss:
    """The loss with the labels of the arm's teacher; with labels alone, cross-entropy."""
    smoothing = context.recipe.train.label_smoothing
    if not labels or (arm.weight == 0 and not arm.trust):
        return CrossEntropy(smoothing)
    return DistillationLoss(labels[arm.teacher], arm.weight, arm.temperature, smoothing, confidence_weighting=arm.trust)


def search(
    context: Context,
    run: Run,
    fork: SearchPlan,
    labels: Sequence[SoftLabels],
    arms: Sequence[Candidate],
    prior: Candidate,
    seed: int,
    maker: SelfDistillationFactory,
    masks: Masks | None = None,
) -> KDSearch:
    """Train the trunk, unless it is there; probe; choose.

    Trunk and probes lie in the run folder (`checkpoint/`, `search/`), so a killed search goes on where it was.

    Args:
        context: dataset, device, loaders.
        run: claimed by the caller.
        fork: where and how.
        labels: soft labels of each candidate teacher, filled for the kept samples.
        arms: what is probed.
        prior: with which the run begins.
        seed: of the run.
        maker: of self-distillation.
        masks: which weights are kept.
    """
    training, judges, trunk = context.recipe.train, fork.validation, Checkpoint(run.checkpoint_path("fork"))
    if not trunk.path.exists():
        trainer = Trainer(
            context.new_model(training.model, seed), context.loader("train"), fork.ids, context.views, training,
            loss_for(context, labels, prior), seed=seed, num_steps=fork.steps,
            description=f"student, first {fork.epoch} epochs", self_distillation=maker.build(fork.ids), masks=masks,
            callbacks=run_callbacks(context, run),
        )  # fmt: skip
        trainer.fit(Checkpoint(run.checkpoint_path("trunk")), save_final_to=trunk, stop_epoch=fork.epoch)
    info(
        f"KD weight: after {fork.epoch} epochs, {len(arms)} probes of {fork.probe_steps} updates "
        f"(the run has {fork.steps:,}), validated on {len(judges.ids):,} {judges.kind} samples"
    )
    store = TrialStore(run.folder / "search", {"run": "probes of the run beside"})
    trials, marks, evaluated = [], [], 0
    for arm in arms:
        row = store.run(asdict(arm), partial(_probe, context, run, fork, labels, arm, seed, maker, masks))
        assert row is not None  # run() waits for a row that another process has
        _probe_checkpoint(run, arm).remove()
        correct = decode_bits(row.result["correct"], len(judges.ids))
        trials.append(evaluate_probe(arm, correct, judges.weights, row.result["samples_seen"], row.seconds))
        marks.append(correct)
        evaluated += row.result.get("evaluated", 0)
        info(f"  KD weight {arm}: {trials[-1].accuracy:.2f}% ± {trials[-1].stderr:.2f}, {row.seconds:.1f} s")
    choice = choose(arms, np.array(marks, np.bool_), judges.weights, prior.temperature, prior.weight)
    cost = ComputeCost(sum(t.samples_seen for t in trials), len(arms) * len(judges.ids) + evaluated)
    trainings = round(cost.training_passes / (fork.samples * maker.settings.compute), 4)
    info(f"KD weight {choice.candidate} is chosen; the search cost {trainings:.2f} trainings")
    return KDSearch(
        **asdict(choice.candidate), method="forked probes", trials=tuple(trials), curve=choice.curve, validation=judges.kind,
        validation_size=len(judges.ids), samples_seen=cost.samples_seen, evaluated=cost.evaluated, cost=trainings,
    )  # fmt: skip


def _probe(
    context: Context,
    run: Run,
    fork: SearchPlan,
    labels: Sequence[SoftLabels],
    arm: Candidate,
    seed: int,
    maker: SelfDistillationFactory,
    masks: Masks | None,
    _: TrialConfig,
) -> dict[str, Any]:
    trunk = Checkpoint(run.checkpoint_path("fork"))
    training, loader = context.recipe.train.replace(infobatch=0.0), context.loader("train")  # few updates: nothing to skip
    model = context.new_model(training.model, seed)
    start = planned_rate(training, fork.step, fork.steps)
    trainer = Trainer(
        model, loader, fork.ids, context.views, training, loss_for(context, labels, arm),
        seed=seed, num_steps=fork.step + fork.probe_steps, description=f"probe, KD weight {arm}",
        lr_schedule=lambda step: start * (1 - (step - fork.step + 0.5) / fork.probe_steps),
        self_distillation=maker.build(fork.ids), masks=masks,
    )  # fmt: skip
    done = trainer.fit(_probe_checkpoint(run, arm), init_from=trunk)
    begun = trunk.state()
    return {
        "correct": encode_bits(predict_correct(model, loader, fork.validation.ids, context.views)),
        "samples_seen": _training_passes(done) - _training_passes(begun),
        "evaluated": done.auxiliary_forward - begun.auxiliary_forward,
    }


def _probe_checkpoint(run: Run, arm: Candidate) -> Checkpoint:
    """Where the probe of an arm goes on from."""
    return Checkpoint(run.checkpoint_path(f"probe-{config_hash(asdict(arm))}"))


def _training_passes(done: TrainState) -> int:
    """Training passes, those that dynamic pruning left out with them: a search costs what it costs without pruning."""
    return done.samples_seen + done.samples_skipped + done.auxiliary_samples
