"""`dprune advise`: uses neither the test set nor the holdout for training, trains nothing twice, and prints one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.analysis.advise import pilots as pilots_module
from datapruning.analysis.advise.advise import Advice, advise
from datapruning.analysis.advise.answer import FILE
from datapruning.analysis.advise.cost import AdviceCost
from datapruning.analysis.advise.curve import LEAKAGE_SHARE
from datapruning.analysis.advise.plan import Pilot
from datapruning.analysis.advise.random_baseline import compare_with_random
from datapruning.analysis.advise.request import split_holdout
from datapruning.api.score import score
from datapruning.api.teach import teach
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.loader import Loader
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, OutputExists, UnknownName
from datapruning.io.json import read_json
from datapruning.models.flops import forward_flops
from datapruning.runs.context import Context
from datapruning.training import trainer
from datapruning.training.evaluate import decode_bits, encode_bits
from tests.conftest import CommandResult, fast_options, make_dataset
from tests.robustness.test_bad_input import teacher_folder

MakeContext = Callable[..., Context]
FAST = [*fast_options(), "--set", "train.model=tinynet8", "--set", "teacher.model=tinynet8"]
TINY = ("train.model=tinynet8", "teacher.model=tinynet8", "train.epochs=1", "teacher.epochs=1")
"""Every training in a tenth of a second; teacher and reference alike."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Collect the name and sample ids of every training run of an advice."""
    training_ids: list[tuple[str, np.ndarray[Any, Any]]] = []
    original = trainer.Trainer

    def watched(model: Any, loader: Any, ids: Any, *arguments: Any, **options: Any) -> Any:
        training_ids.append((options["description"], ids))
        return original(model, loader, ids, *arguments, **options)

    monkeypatch.setattr(pilots_module, "Trainer", watched)
    return training_ids


def record(advice: Advice) -> dict[str, Any]:
    """Return the content of advice.json."""
    return read_json(advice.folder / FILE)


def bare(advice: Advice) -> dict[str, Any]:
    """Return the content of advice.json without times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(item) for key, item in value.items() if key != "seconds"}
        return [timeless(item) for item in value] if isinstance(value, list | tuple) else value

    return dict(timeless(record(advice)))


def test_the_command_prints_one_line(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    command = dprune("advise", "--tolerance", "50", *FAST)
    assert command.code == 0, command.err
    price, *_ = command.err.splitlines()
    assert "143 of 1,438 training samples are held out" in price
    assert "trainings" in price
    (line,) = command.out.splitlines()
    assert "to stay within 50 points of the " in line
    assert "80% interval" in line
    file = tmp_path / line.rpartition(": ")[2]
    advice_json = json.loads(file.read_text())
    assert f"keep {advice_json['fraction']:g} of 1,438 = {advice_json['kept']:,} samples" in line
    assert advice_json["low"] <= advice_json["fraction"] <= (advice_json["high"] or 1)
    assert (advice_json["tolerance"], advice_json["num_holdout"]) == (50, 143)
    assert len(advice_json["pilots"]) >= 3
    student = dprune("train", "--fraction", advice_json["fraction"], "--kd-weight", "0.9", *FAST)
    assert f"keeping {advice_json['kept']:,} of 1,438" in student.out, "the fraction is one that train takes"


def test_no_training_on_the_test_set_or_the_holdout(
    digits: Dataset, make_context: MakeContext, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, roles = Context.loader, []

    def watched(self: Context, role: str) -> Loader:
        roles.append(role)
        return original(self, role)

    monkeypatch.setattr(Context, "loader", watched)
    context = make_context(digits, *TINY, "train.epochs=2")  # a teacher unlike the reference
    advise(context, 60.0, seed=3)
    split = split_holdout(digits.total, 3)
    assert set(roles) == {"train"}
    assert [name for name, _ in trained[:2]] == ["reference", "teacher"]
    for name, ids in trained:
        assert not np.isin(split.holdout, ids).any(), name
    assert all(len(ids) == 1295 for _, ids in trained[:2])


def test_a_teacher_that_is_trained_like_the_reference_is_the_reference(
    digits: Dataset, make_context: MakeContext, trained: list[Any]
) -> None:
    advice = advise(make_context(digits, *TINY), 60.0)
    assert [name for name, _ in trained if not name.startswith("pilot")] == ["reference"]
    assert record(advice)["teacher"] == "the reference"
    assert advice.cost.holdout_teacher == 0


def test_another_tolerance_reuses_finished_pilots(digits: Dataset, make_context: MakeContext, trained: list[Any]) -> None:
    context = make_context(digits, *TINY)
    first = advise(context, 30.0)
    count = len(trained)
    repeated = advise(context, "30")
    assert len(trained) == count
    assert (repeated.folder, repeated.text) == (first.folder, first.text)
    advise(context, 60.0)
    names = [name for name, _ in trained]
    assert len(set(names)) == len(names), "nothing is trained twice"
    assert sum(name == "reference" for name in names) == 1


def test_a_killed_advice_resumes_to_the_same_result(
    digits: Dataset, make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(digits, *TINY)
    uninterrupted = advise(context, 30.0, out=tmp_path / "whole")
    original = trainer.Trainer

    def kill_in(name: str) -> None:
        def killed(*arguments: Any, **options: Any) -> Any:
            if options["description"] == name:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(pilots_module, "Trainer", killed)
            advise(context, 30.0, out=tmp_path / "stopped")
        assert not (tmp_path / "stopped" / FILE).exists()

    kill_in("reference")
    kill_in("pilot-0.1-0")
    kill_in("pilot-0.2-0")
    assert bare(advise(context, 30.0, out=tmp_path / "stopped")) == bare(uninterrupted)


def test_pilots_of_a_scorer_keep_what_it_ranks_first(digits: Dataset, make_context: MakeContext, trained: list[Any]) -> None:
    context = make_context(digits, *TINY, "proxy.model=tinynet8")
    advice = advise(context, 60.0, scorer="el2n", seed=1)
    values = score(context, "el2n", seed=1).values
    rest = split_holdout(digits.total, 1).rest
    *pilots, (name, random_ids) = trained[1:]
    for _, ids in pilots:
        assert values[ids].min() >= np.sort(values[rest])[-len(ids)]
    assert name.startswith("random-pilot-")
    assert len(random_ids) in [len(ids) for _, ids in pilots]
    assert values[random_ids].min() < np.sort(values[rest])[-len(random_ids)], "these are drawn, not ranked"
    baseline = record(advice)["random"]
    verb = "beats" if baseline["beats_random"] else "does not beat"
    assert f"el2n {verb} random at {baseline['fraction']:g} ({baseline['difference']:+.2f} ± " in advice.text


def test_random_pilots_have_different_subsets(digits: Dataset, make_context: MakeContext, trained: list[Any]) -> None:
    advise(make_context(digits, *TINY), 60.0)
    small, large = sorted((ids for name, ids in trained if name != "reference"), key=len)[:2]
    assert not np.isin(small, large).all()


def test_a_given_teacher_is_used_and_its_leakage_is_corrected(
    digits: Dataset, make_context: MakeContext, trained: list[Any], tmp_path: Path
) -> None:
    teacher = teach(make_context(digits, *TINY, "teacher.epochs=8"), out=tmp_path / "teacher")
    advice_json = record(advise(make_context(digits, *TINY), 60.0, teacher=teacher))
    assert "teacher" not in [name for name, _ in trained]
    assert advice_json["teacher"][0]["folder"] == str(teacher.folder)
    assert advice_json["leakage_correction"] > 0
    accuracy = advice_json["reference"]["accuracy"] + advice_json["leakage_correction"] / LEAKAGE_SHARE
    assert accuracy == pytest.approx(round(accuracy / 100 * 143) / 143 * 100, abs=0.01)


def test_an_unreachable_tolerance_is_an_answer(
    dprune: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pilots_module.PilotRunner.pilot

    def poor(self: Any, pilot: Any) -> Any:
        result = original(self, pilot)
        correct = result.correct & (np.arange(143) % 2 == 0)  # half of what it got right
        return dataclasses.replace(result, correct=correct, accuracy=100 * float(correct.mean()))

    monkeypatch.setattr(pilots_module.PilotRunner, "pilot", poor)
    command = dprune("advise", "--tolerance", "0.5", *FAST)
    assert command.code == 0, command.err
    (line,) = command.out.splitlines()
    assert "no fraction below 0.95 stays within 0.5 points" in line
    assert "points below it" in line


def test_the_steps_budget_saves_samples_but_no_time(digits: Dataset, make_context: MakeContext) -> None:
    advice = advise(make_context(digits, *TINY).with_train(budget="steps"), 60.0)
    assert "saves samples, but no training time" in advice.text
    assert (advice.text.startswith("at equal compute, "), record(advice)["equal"]) == (True, "compute")
    assert advice.cost.pilots > 0.8 * len(advice.pilots)


def test_costs_are_weighted_by_the_networks(digits: Dataset, make_context: MakeContext) -> None:
    context = make_context(digits, *TINY, "teacher.model=tinynet32", "train.budget=samples")
    advice = advise(context, 60.0)
    student, teacher = (forward_flops(f"tinynet{width}", context.shape, digits.classes) for width in (8, 32))
    rest, holdout, full = 1295, 143, 3 * student * digits.total
    assert advice.cost.training == full
    assert advice.cost.reference == pytest.approx(student * (3 * rest + holdout) / full)
    assert advice.cost.holdout_teacher == pytest.approx(teacher * (3 * rest + holdout) / full)
    assert advice.cost.teacher == pytest.approx(teacher / student)
    for pilot, result in advice.pilots.items():
        labels = teacher * (result.forward_passes - holdout)
        assert result.flops == student * (3 * result.samples_seen + holdout) + labels, pilot
        assert result.samples_seen == pytest.approx(rest, abs=16), "each sees as many samples, whatever it keeps"


def result_of(correct: np.ndarray[Any, Any]) -> pilots_module.HoldoutResult:
    """Return the result of a pilot that classified these hold-out samples correctly."""
    return pilots_module.HoldoutResult(correct, 100 * float(correct.mean()), 10, 20, 30, 40, 0.5, 0.5)


def test_a_scorer_is_compared_with_random_samples() -> None:
    right = np.arange(1000) % 10 > 1  # 80%
    worse, little_better, better = right & (np.arange(1000) > 99), right.copy(), np.arange(1000) % 10 > 0
    little_better[:10] = True
    pilot, random = Pilot("0.1", 0), result_of(right)
    lost, noise, won = (compare_with_random(pilot, result_of(c), random) for c in (worse, little_better, better))
    assert (lost.difference, lost.beats_random) == (-8.0, False)
    assert (noise.difference, noise.beats_random) == (0.2, False)
    assert (won.difference, won.beats_random) == (10.0, True)
    assert lost.message("el2n").startswith("el2n does not beat random at 0.1 (-8.00 ± ")
    assert won.message("el2n").startswith("el2n beats random at 0.1 (+10.00 ± ")


def test_the_answer_at_the_other_budget_is_shown_where_it_is_known(
    digits: Dataset, make_context: MakeContext, trained: list[Any]
) -> None:
    context = make_context(digits, *TINY)
    at_epochs = advise(context, 60.0)
    assert record(at_epochs)["other_budget"] is None
    at_compute = advise(context, 60.0, samples="full")
    other_budget = record(at_compute)["other_budget"]
    answer = at_epochs.answer
    assert (other_budget["equal"], other_budget["fraction"], other_budget["high"]) == (
        "epochs",
        answer.fraction,
        answer.high,
    )
    assert other_budget["curve"] == record(at_epochs)["curve"]
    assert f"; at equal epochs, within 60 points: {answer.fraction:g} (" in at_compute.text
    count = len(trained)
    repeated = advise(context, 60.0)
    assert len(trained) == count, "what is shown beside is read"
    assert f"; at equal compute, within 60 points: {at_compute.answer.fraction:g} (" in repeated.text
    assert advise(context, 60.0, seed=1).text.count("at equal") == 1, "of another hold-out"


def test_break_even_counts_students() -> None:
    cost = AdviceCost(training=100, reference=0.9, holdout_teacher=0.0, pilots=0.6, teacher=1.0, evidence=0.5)
    assert cost.break_even(0.5, with_teacher=False) == 3
    assert cost.break_even(0.5, with_teacher=True) == 6
    assert cost.break_even(0.0, with_teacher=True) is None


def test_the_holdout_is_drawn_by_the_seed_and_is_small() -> None:
    split = split_holdout(60_000, 0)
    assert (len(split.holdout), len(split.rest)) == (5000, 55_000)
    assert np.array_equal(np.union1d(split.holdout, split.rest), np.arange(60_000))
    assert len(np.intersect1d(split.holdout, split_holdout(60_000, 1).holdout)) < 1000
    assert len(split_holdout(1438, 0).holdout) == 143


def test_encoded_bits_round_trip() -> None:
    correct = np.random.default_rng(0).random(143) < 0.9
    assert np.array_equal(decode_bits(encode_bits(correct), 143), correct)


BAD = [
    (["--tolerance", "half"], "got 'half'"),
    (["--tolerance", "0"], "more than 0 and less than 100"),
    (["--tolerance=-1"], "got -1"),
    (["--tolerance", "100"], "got 100"),
    (["--tolerance", "nan"], "points of accuracy"),
    (["--tolerance", ""], "points of accuracy"),
    (["--scorer", "randon"], "did you mean 'random'"),
    (["--teacher", "nowhere"], "teacher nowhere is not there"),
    (["--budget", "hours"], "unknown budget"),
    (["--model", "tinynet9"], "unknown model"),
    (["--set", "evidence.early_epoch=7", "--scorer", "el2n"], "early_epoch is 7"),
    (["--threads", "0"], "at least 1 thread is needed, got 0 (--threads)"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: "-".join(v) if isinstance(v, list) else "")
def test_invalid_input_is_one_line_and_writes_no_file(
    expect_refusal: Callable[..., str], arguments: list[str], message: str
) -> None:
    assert message in expect_refusal("advise", *FAST, *arguments)


def test_a_dataset_too_small_for_a_holdout_is_refused(
    small_dataset: Dataset, make_context: MakeContext, tmp_path: Path
) -> None:
    with pytest.raises(InvalidValue, match="of 120 that is too few to measure a point of accuracy; it needs at least 1,000"):
        advise(make_context(small_dataset))
    many = make_dataset(1000, classes=4)
    crowded = dataclasses.replace(many, class_names=tuple(f"class {k}" for k in range(250)))
    with pytest.raises(InvalidValue, match="900 samples of 250 classes"):
        advise(make_context(crowded))
    assert not list(tmp_path.iterdir())


def test_a_teacher_of_other_data_is_refused(
    expect_refusal: Callable[..., str], small_dataset: Dataset, digits: Dataset, tmp_path: Path
) -> None:
    other = teacher_folder(tmp_path / "other", small_dataset)
    assert "4 classes, digits has 10" in expect_refusal("advise", *FAST, "--teacher", other)
    alike = teacher_folder(tmp_path / "alike", digits, fingerprint="0" * 64)
    assert "another dataset" in expect_refusal("advise", *FAST, "--teacher", alike)


def test_a_folder_with_other_content_is_refused(digits: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom/notes.txt").touch()
    with pytest.raises(OutputExists, match="holds something else"):
        advise(make_context(digits, *TINY), 30.0, out=tmp_path / "custom")
    advise(make_context(digits, *TINY), 60.0, out=tmp_path / "advice")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "advice").rglob("*.json")}
    with pytest.raises(IncompatibleInputs, match=r"about\.seed is 0 there, 1 here"):
        advise(make_context(digits, *TINY), 60.0, seed=1, out=tmp_path / "advice")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "advice").rglob("*.json")} == before


def test_errors_are_raised_before_files_are_written(digits: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(digits, *TINY)
    with pytest.raises(InvalidValue, match="more than 0"):
        advise(context, 0)
    with pytest.raises(UnknownName, match="unknown scorer"):
        advise(context, scorer="rnd")
    with pytest.raises(InvalidFile, match="is not there"):
        advise(context, teacher=tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
