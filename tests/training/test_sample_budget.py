"""The budget "samples": so many samples whatever is kept, in the recipe, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import datapruning as dp
from datapruning.config.recipe import read_recipe
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.runs.context import Context
from datapruning.training.losses import CrossEntropy
from datapruning.training.schedules import planned_flops, planned_samples, planned_steps
from tests.conftest import FAST
from tests.helpers.trainers import fit

QUICK = ("--loader", "memory", "--kd-weight", "0", *(word for setting in FAST for word in ("--set", setting)))


@given(st.integers(2, 400), st.integers(2, 64), st.integers(1, 3), st.integers(64, 5000))
@example(kept=17, batch_size=13, accumulated=1, samples=64)  # the last two batches share their samples: 9 and 8
def test_at_least_so_many_samples_are_seen_and_less_than_a_batch_more(
    kept: int, batch_size: int, accumulated: int, samples: int
) -> None:
    step = batch_size * accumulated
    samples = max(samples, step)
    training = TrainConfig(budget="samples", samples=samples, batch_size=batch_size, grad_accum_steps=accumulated)
    assert samples <= planned_samples(training, kept, 400) <= samples + step + 1
    assert planned_steps(training, kept, 400) <= planned_steps(training.replace(samples=samples + 1), kept, 400)


def test_full_is_as_many_as_a_training_on_all_the_data() -> None:
    training = TrainConfig(budget="samples", epochs=3, batch_size=16)
    assert planned_samples(training, 100, 400) == 3 * 400
    assert planned_samples(training.replace(budget="epochs"), 400, 400) == 3 * 400


def test_a_students_number_of_samples_is_not_its_teachers(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[train]\nbudget = "samples"\nsamples = 5000\nepochs = 7\n')
    recipe, _ = read_recipe(tmp_path / "r.toml")
    assert (recipe.train.samples, recipe.teacher.samples, recipe.teacher.epochs) == (5000, "full", 7)


def test_a_student_sees_so_many_samples(small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"loader": "memory", "device": "cpu", "changes": FAST, "workspace": tmp_path / "w"}
    run = dp.train(small_dataset, fraction=0.5, kd_weight=0, samples=1000, **settings)  # type: ignore[arg-type]
    assert 1000 <= run.result.samples_seen < 1000 + 128
    assert run.result.budget == "samples"
    for samples, budget in (("12k", None), (1000, "steps")):
        with pytest.raises(InvalidValue):
            dp.train(small_dataset, fraction=0.5, kd_weight=0, samples=samples, budget=budget, **settings)  # type: ignore[arg-type]


def test_a_budget_below_a_training_step_is_refused(expect_refusal: Callable[..., str]) -> None:
    train = ("train", "--fraction", "0.5", *QUICK)
    assert "train.samples is less than" in expect_refusal(*train, "--samples", "1")
    assert "whole number, or full; got 'many' (--samples)" in expect_refusal(*train, "--samples", "many")
    line = expect_refusal("sweep", "--samples", "100", "--budget", "steps", "--loader", "memory")
    assert "is the budget 'samples', not 'steps' (--samples)" in line


@pytest.mark.parametrize("until", [0.0, 0.3, 0.5, 1.0])
def test_planned_operations_are_those_of_the_training(
    make_context: Callable[..., Context], small_dataset: Dataset, until: float
) -> None:
    training = TrainConfig(
        model="fastnet16",
        epochs=4,
        batch_size=16,
        budget="samples",
        samples=333,
        progressive_size=6,
        progressive_until=until,
    )
    context, ids = make_context(small_dataset), np.arange(50)
    steps = planned_steps(training, len(ids), small_dataset.total)
    model = context.new_model(training.model, 0)
    state = fit(
        model, context.loader("train"), ids, context.views, training, CrossEntropy(), seed=0, num_steps=steps,
        description="test",
    )  # fmt: skip
    planned = planned_flops(training, len(ids), small_dataset.total, context.shape, small_dataset.classes)
    assert planned == state.flops > 0
