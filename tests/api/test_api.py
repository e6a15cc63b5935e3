"""The Python functions, end to end on real digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidValue
from datapruning.io.json import read_json
from datapruning.io.tensors import load_tensors
from datapruning.models.flops import forward_flops
from datapruning.runs.context import Context
from datapruning.runs.result import RunResult, StudentResult
from datapruning.runs.run import FinishedRun
from datapruning.runs.training_records import ProbeResult
from datapruning.teachers.soft_labels import SoftLabelCache
from datapruning.training import epoch_plan
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.schedules import planned_epochs
from tests.conftest import FAST

MakeContext = Callable[..., Context]
Patch = pytest.MonkeyPatch
TINY = ("train.model=tinynet8", "teacher.model=tinynet8", "proxy.model=tinynet8")


@pytest.fixture
def context(make_context: MakeContext, digits: Dataset) -> Context:
    """Make a context on the digits with fast settings."""
    return make_context(digits, *TINY, "train.epochs=3", "teacher.epochs=3")


def probes_of(run: FinishedRun[StudentResult]) -> tuple[ProbeResult, ...]:
    """Return the probes of a run with a search for the KD weight."""
    assert run.result.kd_weight_search is not None
    return run.result.kd_weight_search.probes


def test_the_main_pipeline(context: Context, tmp_path: Path) -> None:
    """Score, select, teach and train; the result records all of it."""
    scores = dp.score(context, "forgetting")
    subset = dp.select(scores, fraction=0.3)
    teacher = dp.teach(context)
    student = dp.train(context, subset, teacher=teacher, kd_weight="auto", out=tmp_path / "student")
    result = read_json(tmp_path / "student" / "result.json")
    assert RunResult.parse(result, "result.json") == student.result
    assert (result["kept"], result["total"], result["fraction"]) == (431, 1438, 0.3)
    search = result["kd_weight_search"]
    aside = 43  # a tenth of a subset that is no random one, until the weight is chosen
    assert result["samples_seen"] == 3 * 431 - 2 * aside
    assert result["scorer"] == "forgetting"
    assert (result["kd_weight"], result["temperature"]) == (search["weight"], search["temperature"])
    keys = ("weight", "temperature", "augmentation", "teacher", "confidence_weighting")
    proposed, labels_only, *others = [{key: probe[key] for key in keys} for probe in search["probes"]]
    assert proposed == search["proposed"]
    assert (labels_only["weight"], labels_only["augmentation"]) == (0.0, "recipe")
    assert len(others) <= 1
    assert (search["regime"]["kept_per_class"], search["regime"]["epochs"]) == (43.1, 3)
    assert 0.5 < search["regime"]["agreement"] <= 1
    assert search["validation"] == "pruned-away and set-aside"
    assert search["samples_seen"] == sum(t["samples_seen"] for t in search["probes"])
    assert search["evaluated"] == len(search["probes"]) * search["validation_size"] + search["labels"]["evaluated"]
    assert search["cost"] == pytest.approx((search["samples_seen"] + search["evaluated"] / 3) / (3 * 431), abs=1e-3)
    assert search["cost"] < 0.9
    assert result["teacher"][0]["test_accuracy"] == teacher.test_accuracy
    assert set(result["seconds"]) == {"teacher", "soft_labels", "search", "train", "evaluate"}
    assert (result["budget"], result["seed"], result["device"]) == ("epochs", 0, "cpu")
    names = {"config.toml", "metrics.jsonl", "model.safetensors", "result.json", "search", "subset.npz"}
    assert {p.name for p in (tmp_path / "student").iterdir() if not p.name.startswith(".")} == names
    assert np.array_equal(dp.load_subset(tmp_path / "student" / "subset.npz").indices, subset.indices)
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "student" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [0, 1, 2]


def test_a_student_without_kd_needs_no_teacher(context: Context) -> None:
    student = dp.train(context, fraction=0.2, kd_weight=0)
    assert student.result.teacher == ()
    assert not (context.workspace / "teachers").exists()


def test_a_finished_run_is_not_trained_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dp.train(context, fraction=0.2, kd_weight=0)
    monkeypatch.setattr("datapruning.training.distillation.training_run.Trainer", None)
    assert dp.train(context, fraction="0.2", kd_weight=0.0).result == first.result


def test_the_same_command_in_two_workspaces_gives_the_same_bits(
    make_context: MakeContext, digits: Dataset, tmp_path: Path
) -> None:
    tensor_bytes = []
    for name in "ab":
        context = make_context(digits, "teacher.epochs=1", workspace=tmp_path / name, threads=1)
        student = dp.train(context, fraction=0.1, kd_weight=0.5, seed=3)
        weights, _ = load_tensors(student.folder / "model.safetensors")
        tensor_bytes.append({key: value.numpy().tobytes() for key, value in weights.items()})
    assert tensor_bytes[0] == tensor_bytes[1]


INTERRUPTED = ("train.model=tinynet8", "teacher.model=tinynet8", "train.epochs=4", "teacher.epochs=1", "kd.search_budget=1")


@pytest.fixture(scope="module")
def undisturbed(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Train a student with the settings INTERRUPTED without interruption."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    options = {"loader": "memory", "device": "cpu", "workspace": workspace, "threads": 1}
    return dp.train(dp.open_context(digits, changes=[*FAST, *INTERRUPTED], **options), fraction=0.1)


@pytest.mark.parametrize("moment", ["shared prefix", "probe", "second half"])
def test_a_killed_student_ends_with_the_same_bits(
    undisturbed: FinishedRun, make_context: MakeContext, digits: Dataset, tmp_path: Path, monkeypatch: Patch, moment: str
) -> None:
    for module in ("run_search", "student", "training_run"):
        patched = f"datapruning.training.distillation.{module}.Checkpoint"
        monkeypatch.setattr(patched, lambda path: Checkpoint(path, seconds=0))
    original = epoch_plan.global_batches
    sample_orders = []

    def killed(ids: Any, config: Any, seed: int, epoch: int) -> Any:
        if len(ids) == 144:
            sample_orders.append(epoch)
            probing = sample_orders.count(2)
            if {"shared prefix": epoch == 1, "probe": probing == 3, "second half": epoch == 3}[moment]:
                raise KeyboardInterrupt
        return original(ids, config, seed, epoch)

    context = make_context(digits, *INTERRUPTED, workspace=tmp_path / "killed", threads=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(epoch_plan, "global_batches", killed)
        dp.train(context, fraction=0.1)
    (begun,) = (tmp_path / "killed" / "students").iterdir()
    assert {p.stem for p in (begun / "checkpoint").glob("[!.]*")} == {
        "shared prefix": {"shared-prefix-progress"}, "probe": {"shared-prefix-progress", "shared-prefix"},
        "second half": {"shared-prefix-progress", "shared-prefix", "state"},
    }[moment]  # fmt: skip
    assert not (begun / "result.json").exists()
    resumed = dp.train(context, fraction=0.1)
    assert not (begun / "checkpoint").exists()
    a, b = (load_tensors(run.folder / "model.safetensors")[0] for run in (undisturbed, resumed))
    assert all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)
    assert resumed.test_accuracy == undisturbed.test_accuracy
    trials = [[probe.accuracy for probe in probes_of(run)] for run in (undisturbed, resumed)]
    assert trials[0] == trials[1]


def test_students_of_several_seeds_share_teacher_and_soft_labels(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    subset = dp.select(dp.score(context, "random"), 0.1)
    first = dp.train(context, subset, kd_weight=0.5, seed=0)
    assert first.result.soft_labels_computed == 3 * 144
    other = dp.train(context, subset, kd_weight=0.5, seed=1)
    assert other.result.soft_labels_computed == 0
    assert other.result.teacher == first.result.teacher


def test_soft_labels_are_computed_only_for_kept_samples(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    requested_ids = []
    original = SoftLabelCache.fill

    def watched(self: SoftLabelCache, loader: Any, ids: Any, epochs: range) -> int:
        requested_ids.append((ids, epochs))
        return original(self, loader, ids, epochs)

    monkeypatch.setattr(SoftLabelCache, "fill", watched)
    subset = dp.select(dp.score(context, "random"), 0.1)
    dp.train(context, subset, kd_weight=0.5)
    ((ids, epochs),) = requested_ids
    assert np.array_equal(ids, subset.indices)
    assert epochs == range(3)


def test_nothing_is_chosen_on_the_test_set(
    make_context: MakeContext, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the last evaluation uses the test set, and the search uses only pruned-away samples."""
    context = make_context(digits)
    dp.teach(context)
    opened: list[str] = []
    original = Context.loader

    def watched(self: Context, role: str) -> Any:
        opened.append(role)
        return original(self, role)

    monkeypatch.setattr(Context, "loader", watched)
    dp.train(context, fraction=0.1)
    assert opened.count("test") == 1
    assert opened[-1] == "test"


def test_two_teachers_teach_together(context: Context, tmp_path: Path) -> None:
    runs = [dp.teach(context, seed=seed, out=tmp_path / f"teacher-{seed}") for seed in (0, 1)]
    student = dp.train(context, fraction=0.1, kd_weight=0.9, teacher=[runs[0], runs[1].folder])
    assert [t.folder for t in student.result.teacher] == [str(run.folder) for run in runs]


def test_full_data_is_searched_on_held_out_samples(context: Context) -> None:
    result = dp.train(context, fraction=1).result
    assert result.kept == result.total == 1438
    search = result.kd_weight_search
    assert search is not None
    assert search.validation == "set-aside"
    assert search.validation_size <= 143
    assert result.samples_seen == 3 * 1438 - 2 * search.validation_size  # they are back after two of three epochs


def test_subset_and_fraction_together_or_neither_is_refused(context: Context) -> None:
    subset = dp.select(dp.score(context, "random"), 0.1)
    with pytest.raises(InvalidValue, match="a subset is a selection already"):
        dp.train(context, subset, fraction=0.1)
    with pytest.raises(InvalidValue, match="say what to train on"):
        dp.train(context)
    with pytest.raises(InvalidValue, match="at least 2"):
        dp.train(context, fraction=1 / 1438)


def test_a_subset_of_other_data_is_refused(context: Context, small_dataset: Dataset, make_context: MakeContext) -> None:
    foreign = dp.select(dp.score(make_context(small_dataset), "random"), 0.1)
    with pytest.raises(IncompatibleInputs, match="made from another dataset: generated"):
        dp.train(context, foreign)
    with pytest.raises(IncompatibleInputs):
        dp.select(dp.score(make_context(small_dataset), "random"), 0.1, data=context.data)


def test_a_list_of_ids_is_a_subset(context: Context, digits: Dataset) -> None:
    """A subset works with torch's Subset and with plain indexing."""
    import torch
    from torch.utils.data import Subset, TensorDataset

    subset = dp.select(dp.score(context, "random"), 0.1)
    full_dataset = TensorDataset(torch.from_numpy(digits.train.images), torch.from_numpy(digits.train.labels))
    assert len(Subset(full_dataset, subset.indices.tolist())) == len(subset) == 144


def test_a_run_of_one_epoch_takes_the_prior_weight(make_context: MakeContext, digits: Dataset) -> None:
    result = dp.train(make_context(digits, "train.epochs=1", "teacher.epochs=1"), fraction=0.1).result
    search = result.kd_weight_search
    assert search is not None
    assert (search.probes, search.cost, search.validation) == ((), 0, None)
    assert (result.kd_weight, result.temperature) == (search.proposed.weight, search.proposed.temperature)


def test_under_the_steps_budget_the_search_keeps_to_the_epochs_that_have_soft_labels(
    make_context: MakeContext, digits: Dataset
) -> None:
    context = make_context(digits, "train.epochs=2", "teacher.epochs=1", "train.budget=steps", "views.num_views=64")
    scores = dp.score(context, "forgetting")
    result = dp.train(context, fraction=0.2, scores=scores).result
    assert result.kd_weight_search is not None
    assert result.kd_weight_search.validation == "pruned-away and set-aside"
    assert result.epochs <= planned_epochs(context.recipe.train, result.kept, result.total)


def test_a_teacher_is_chosen_among_candidates(make_context: MakeContext, digits: Dataset, tmp_path: Path) -> None:
    context = make_context(digits, "train.epochs=2", "teacher.epochs=1", "kd.teacher_candidates=['convnet', 'tinynet8']")
    chosen = dp.train(context, fraction=0.2, teacher="auto")
    result, candidates, search = chosen.result, chosen.result.teacher_candidates, chosen.result.kd_weight_search
    assert candidates is not None
    assert search is not None
    assert [t.model for t in candidates] == ["convnet", "tinynet8"]
    assert result.teacher == (candidates[search.teacher],)
    explicit = dp.train(context, fraction=0.2, teacher=["auto", *(t.folder for t in candidates)], kd_weight=0.5)
    assert [(probe.weight, probe.teacher) for probe in probes_of(explicit)] == [(0.5, 0), (0.5, 1)]
    assert explicit.result.kd_weight == 0.5


def test_choosing_among_one_teacher_or_without_kd_is_refused(make_context: MakeContext, digits: Dataset) -> None:
    context = make_context(digits, "kd.teacher_candidates=['convnet']", "teacher.keep_checkpoints=[]")
    with pytest.raises(InvalidValue, match="chooses among several"):
        dp.train(context, fraction=0.2, teacher="auto")
    with pytest.raises(InvalidValue, match="no teacher to choose"):
        dp.train(context, fraction=0.2, teacher="auto", kd_weight=0)
    assert not (context.workspace / "students").exists()


def test_all_costs_are_recorded(make_context: MakeContext, digits: Dataset) -> None:
    networks = ("train.model=tinynet8", "teacher.model=tinynet16", "proxy.model=tinynet8")
    context = make_context(digits, *networks, "train.epochs=3", "teacher.epochs=3")
    first = dp.train(context, fraction=0.2, scores=dp.score(context, "el2n")).result.to_json()
    repeated = dp.train(context, fraction=0.2, scores=dp.score(context, "el2n"), seed=1).result.to_json()
    costs = first["costs"]
    assert set(costs) == {"teacher", "scoring", "soft_labels", "search", "train"}
    assert costs["teacher"]["samples_seen"] == 3 * 1438
    scoring = costs["scoring"]
    assert (scoring["samples_seen"], scoring["evaluated"]) == (3 * 1438, 3 * 1438), "the whole run is looked at twice"
    assert costs["soft_labels"]["evaluated"] == 3 * first["kept"]
    assert costs["train"]["samples_seen"] == first["samples_seen"]
    assert costs["search"]["samples_seen"] == first["kd_weight_search"]["samples_seen"]
    for shared in ("teacher", "scoring", "soft_labels"):  # what was found made costs as much as if it had been made
        assert repeated["costs"][shared] == costs[shared]
    student, teacher, proxy = (
        forward_flops(table.model, context.shape, context.data.classes)
        for table in (context.recipe.train, context.recipe.teacher, context.recipe.proxy)
    )
    labels = first["kd_weight_search"]["labels"]
    assert labels["flops"] == teacher * labels["evaluated"]
    costs["search"] = {key: costs["search"][key] - labels[key] for key in ("samples_seen", "evaluated", "flops")}
    phases = {"teacher": teacher, "scoring": proxy, "soft_labels": teacher, "search": student, "train": student}
    assert teacher > student, "soft labels are made by a larger network than the student's"
    for phase, network in phases.items():
        cost = costs[phase]
        assert cost["flops"] == network * (3 * cost["samples_seen"] + cost["evaluated"]) > 0
