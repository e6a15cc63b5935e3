"""Self-distillation from the commands: with and without a teacher, recorded, reproducible, refused in one line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.config.recipe import Recipe, read_recipe
from datapruning.config.self_distillation import KEYS, SelfDistillConfig
from datapruning.config.toml import to_toml
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.io.tensors import load_tensors
from datapruning.models.flops import forward_flops
from datapruning.report.comparison import compare
from datapruning.report.run_records import RunRecord
from datapruning.runs.context import Context
from datapruning.runs.result import StudentResult
from datapruning.runs.run import CONFIG
from datapruning.training.distillation.validation import ValidationSet
from tests.conftest import fast_options

MakeContext = Callable[..., Context]
METHODS = [name for name in KEYS if name != "none"]


@pytest.fixture
def short(make_context: MakeContext, small_dataset: Dataset) -> Context:
    """Settings of four epochs of small batches, two for the teacher."""
    return make_context(
        small_dataset, "train.epochs=4", "train.batch_size=16", "kd.search_budget=1", "kd.search=['temperature']", threads=1
    )


def bits(run: Any) -> dict[str, bytes]:
    return {name: t.numpy().tobytes() for name, t in load_tensors(run.folder / "model.safetensors")[0].items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weight", [0, 0.6, "auto"])
def test_students_with_and_without_teachers(short: Context, method: str, weight: float | str) -> None:
    usual = dp.train(short, fraction=0.5, kd_weight=weight)
    actual = dp.train(short.with_settings("self_distill", method=method), fraction=0.5, kd_weight=weight)
    assert actual.folder != usual.folder
    assert method in actual.folder.name
    assert bits(actual) != bits(usual)
    assert usual.result.self_distill is None
    record = actual.result.self_distill
    assert record is not None
    assert {"method": record.method, **record.settings} == SelfDistillConfig(method=method).to_dict()
    samples_seen, costs = usual.result.samples_seen, actual.result.costs
    trained, forward = record.extra_passes.trained, record.extra_passes.forward
    assert actual.result.samples_seen == costs.train.samples_seen == samples_seen + trained
    assert costs.train.evaluated == forward == (samples_seen if method == "cs-kd" else 0)
    assert (trained > 0.8 * samples_seen) == (method == "dlb")
    assert actual.result.epochs == usual.result.epochs
    searches = [run.result.kd_weight_search for run in (usual, actual)]
    if weight == "auto":
        first_search, second_search = searches
        assert second_search.cost == pytest.approx(first_search.cost, rel=0.3), "in trainings of its own kind"
        if method == "dlb":
            assert second_search.samples_seen > 1.5 * first_search.samples_seen
        assert (second_search.evaluated > first_search.evaluated) == (method == "cs-kd")
    assert (actual.result.self_teacher is not None) == (method == "tf-kd-self")


def test_the_self_teacher_is_the_run_without_distillation_and_is_used_again(short: Context) -> None:
    actual = dp.train(short.with_settings("self_distill", method="tf-kd-self"), fraction=0.5, kd_weight=0)
    without_distillation = dp.train(short, fraction=0.5, kd_weight=0)
    teacher = actual.result.self_teacher
    assert Path(teacher.folder) == without_distillation.folder
    assert teacher.test_accuracy == without_distillation.test_accuracy
    costs = actual.result.costs
    assert costs.self_teacher.samples_seen == without_distillation.result.samples_seen
    assert costs.self_soft_labels.evaluated == 60 * 4
    student = RunRecord(actual.folder, actual.result, tomllib.loads((actual.folder / CONFIG).read_text()))
    (comparison,) = compare([student])
    assert "self-distillation tf-kd-self" in comparison.description
    (group,) = comparison.groups
    samples = actual.result.samples_seen + without_distillation.result.samples_seen
    forward = forward_flops(student.result.model, short.shape, short.data.classes)
    assert group.cost.per_student.flops == forward * (3 * samples + costs.train.evaluated + 60 * 4)
    written = (without_distillation.folder / "result.json").stat().st_mtime_ns
    hotter = short.with_settings("self_distill", method="tf-kd-self", tf_kd_self_temperature=2.0)
    other = dp.train(hotter, fraction=0.5, kd_weight=0)
    assert other.folder != actual.folder
    assert (without_distillation.folder / "result.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("method", ["ps-kd", "dlb"])
def test_a_student_killed_during_the_search_ends_with_the_same_bits(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, kill_and_resume: Callable[..., Any], method: str
) -> None:
    """Within the second epoch of the shared prefix, in a probe, after the branch point."""
    options = ("train.epochs=4", "train.batch_size=16", "kd.search_budget=1", f"self_distill.method={method}")
    uninterrupted = dp.train(make_context(small_dataset, *options, workspace=tmp_path / "whole", threads=1), fraction=0.5)
    context = make_context(small_dataset, *options, workspace=tmp_path / "killed", threads=1)
    dp.teach(context)
    resumed = kill_and_resume(lambda: dp.train(context, fraction=0.5), 6, 3, 4, 2)
    assert bits(resumed) == bits(uninterrupted)
    assert resumed.result.self_distill == uninterrupted.result.self_distill


def test_a_class_that_loses_its_pair_to_the_validation_set_still_trains(
    make_context: MakeContext, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero, others = (np.flatnonzero(mask) for mask in (small_dataset.train.labels == 0, small_dataset.train.labels != 0))
    validation_set = ValidationSet(others[:0], zero[:1], 1.0)
    monkeypatch.setattr(
        "datapruning.training.distillation.run_search.choose_validation_set", lambda *_, **__: validation_set
    )
    kept = dp.subset_from_ids(np.concatenate([zero[:2], others]), small_dataset, "test")
    run = dp.train(make_context(small_dataset, "self_distill.method=cs-kd", "kd.search_budget=1"), kept)
    assert run.result.kd_weight_search.validation == "set-aside"


# The command


def test_the_option_is_recorded_and_a_run_is_repeated(dprune: Callable[..., Any], tmp_path: Path) -> None:
    arguments = ["train", "--data", "digits", "--fraction", "0.1", "--kd-weight", "0", *fast_options()]
    first = dprune(*arguments, "--self-distill", "cs-kd", "--set", "self_distill.cs_kd_weight=2", "--out", tmp_path / "a")
    assert first.code == 0, first.err
    assert "self-distillation cs-kd" in first.out
    assert "one more forward pass per step: 1.33 times the compute of plain training" in first.err
    table = tomllib.loads((tmp_path / "a" / CONFIG).read_text())["self_distill"]
    assert table == {"method": "cs-kd", "cs_kd_weight": 2.0, "cs_kd_temperature": 4.0}
    repeated = dprune("train", "--recipe", tmp_path / "a" / CONFIG, "--out", tmp_path / "b", "--loader", "memory")
    assert repeated.code == 0, repeated.err
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert models[0] == models[1]
    results = [json.loads((tmp_path / name / "result.json").read_text())["self_distill"] for name in "ab"]
    assert results[0] == results[1]
    assert "  self-distillation: cs-kd (cs_kd_weight 2, cs_kd_temperature 4)" in dprune("inspect", tmp_path / "a").out
    off = dprune(
        "train", "--recipe", tmp_path / "a" / CONFIG, "--self-distill", "none", "--out", tmp_path / "c",
        "--loader", "memory",
    )  # fmt: skip
    assert off.code == 0, off.err
    assert "self_distill" not in tomllib.loads((tmp_path / "c" / CONFIG).read_text())
    settings = [RunRecord(p, StudentResult.read(p / "result.json"), tomllib.loads((p / CONFIG).read_text()))
                for p in (tmp_path / "a", tmp_path / "c")]  # fmt: skip
    apart = compare(settings)
    assert len(apart) == 2, "runs with and without it are no one curve"
    assert {setup.differing["self_distill.method"] for setup in apart} == {"cs-kd", "off"}


TRAIN = ("train", "--data", "digits", "--fraction", "0.1", "--kd-weight", "0", *fast_options())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--self-distill", "cskd"), "self_distill.method: unknown method 'cskd': did you mean 'cs-kd'?"),
        (("--set", "self_distill.method=dbl"), "did you mean 'dlb'?"),
        (("--set", "self_distill.cs_kd_temperature=0"), "cs_kd_temperature lies in 0.001..1e+06; got 0"),
        (("--set", "self_distill.cs_kd_weigth=1"), "did you mean 'cs_kd_weight'?"),
        (("--self-distill", "dlb", "--infobatch", "0.5"), "self-distillation (dlb) and infobatch 0.5 do not go together"),
        (
            ("--self-distill", "ps-kd", "--set", "cutmix.prob=0.5"),
            "self-distillation (ps-kd) and cutmix.prob 0.5 do not go together",
        ),
        (
            ("--self-distill", "ps-kd", "--set", "mixup.prob=0.5"),
            "self-distillation (ps-kd) and mixup.prob 0.5 do not go together",
        ),
        (
            ("--self-distill", "cs-kd", "--set", "train.epochs=1", "--fraction", "0.007", "--balance", "class"),
            "pairs within a class need two kept samples or more",
        ),
    ],
)
def test_invalid_settings_are_refused(expect_refusal: Callable[..., str], arguments: tuple[str, ...], reason: str) -> None:
    assert reason in expect_refusal(*TRAIN, *arguments)


def test_a_resume_with_other_settings_is_refused(
    dprune: Callable[..., Any], expect_refusal: Callable[..., str], tmp_path: Path
) -> None:
    assert dprune(*TRAIN, "--self-distill", "tf-kd", "--out", tmp_path / "a").code == 0
    line = expect_refusal(*TRAIN, "--self-distill", "ps-kd", "--out", tmp_path / "a")
    assert "holds another run" in line
    assert "self_distill" in line
    line = expect_refusal(
        *TRAIN, "--self-distill", "tf-kd", "--set", "self_distill.tf_kd_weight=0.2", "--out", tmp_path / "a"
    )
    assert "tf_kd_weight" in line
    assert "self_distill" in expect_refusal(*TRAIN, "--out", tmp_path / "a")


def test_advice_refuses_it(expect_refusal: Callable[..., str]) -> None:
    line = expect_refusal("advise", "--data", "digits", *fast_options(), "--set", "self_distill.method=dlb")
    assert "pilots of an advice train without self-distillation" in line


# Recipes


def test_recipes_with_and_without_it_round_trip(tmp_path: Path) -> None:
    assert "self_distill" not in to_toml(Recipe(name="r").to_dict())
    for method in METHODS:
        recipe = Recipe(name="r", self_distill=SelfDistillConfig(method=method))
        (tmp_path / "r.toml").write_text(to_toml(recipe.to_dict()))
        assert read_recipe(tmp_path / "r.toml")[0] == recipe


def test_settings_of_other_methods_do_not_name_a_run(make_context: MakeContext, small_dataset: Dataset) -> None:
    one, other = (
        make_context(small_dataset, "self_distill.method=dlb", f"self_distill.ps_kd_weight={w}").recipe.to_dict()
        for w in (0.1, 0.2)
    )
    assert one == other


def test_a_table_can_be_changed_in_a_context(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    assert context.with_settings("self_distill", method="dlb").recipe.self_distill == SelfDistillConfig(method="dlb")
    with pytest.raises(InvalidValue, match="dlb_weight"):
        context.with_settings("self_distill", dlb_weight=-1)
