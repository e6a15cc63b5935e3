"""Runs for tests of the report, written like those of `dprune train` without training; and finding runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.artifacts.metadata import SubsetMetadata, common_fields
from datapruning.artifacts.subset import Subset
from datapruning.config.recipe import Recipe
from datapruning.config.toml import to_toml
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.json import read_json, write_json
from datapruning.io.trial import FailedTrial, StoreManifest, Trial
from datapruning.report.comparison import check_one_dataset, compare
from datapruning.report.find_runs import find_runs
from datapruning.report.groups import kd_gains, kd_labels
from datapruning.report.run_records import ALL, AUTO, NO_KD, read_config
from datapruning.utils.cost import passes_flops
from datapruning.utils.hashing import config_hash

Make = Callable[..., Path]
FORWARD_FLOPS = 1000
"""Of every network of these runs, for one image."""


def cost_of(trained: int, evaluated: int, seconds: float) -> dict[str, float]:
    """Return a cost as result.json has it."""
    flops = passes_flops(FORWARD_FLOPS, trained, evaluated)
    return {"samples_seen": trained, "evaluated": evaluated, "seconds": seconds, "flops": flops}


def search_of(weight: float) -> dict[str, Any]:
    """Return the record of `auto` in result.json."""
    grid = (0.0, 0.5, 1.0)
    response = [{"weight": w, "accuracy": 80 - 9 * (w - weight) ** 2} for w in grid]
    probe = {
        "temperature": 4.0,
        "confidence_weighting": False,
        "teacher": 0,
        "stderr": 0.5,
        "samples_seen": 100,
        "seconds": 0.5,
    }
    trials = [{**point, **probe} for point in response]
    curve = [{**point, "low": point["accuracy"] - 1, "high": point["accuracy"] + 1} for point in response]
    passes = {"samples_seen": 300, "evaluated": 900, "flops": 1800 * FORWARD_FLOPS, "cost": 0.5}
    rest = {"validation": "pruned-away", "validation_size": 300, **passes}
    start = {"weight": weight, "temperature": 4.0, "confidence_weighting": False, "teacher": 0}
    regime = {"kept_per_class": 10.0, "epochs": 5.0, "agreement": 1.0, "confidence": 0.9, "wrong_labels": 0.0}
    start |= {"proposed": dict(start), "regime": regime, "num_views": 16}
    return {**start, "probes": trials, "curve": curve, **rest}


def write_run(folder: Path, data: Dataset, fraction: float = 0.3, kd: float | str = 0.0, seed: int = 0, **more: Any) -> Path:
    """Write a finished student to `folder`.

    `more`: scorer, subset_hash, accuracy, epochs, scores metadata, entries of result.json.
    """
    kept = round(fraction * data.total)
    scorer, epochs, scores = more.pop("scorer", "random"), more.pop("epochs", 2), more.pop("scores", None)
    budget = more.pop("budget", "epochs")
    samples_seen = (kept if budget == "epochs" else data.total) * epochs
    weight = 0.5 if kd == AUTO else float(kd)
    recipe = {k: v for k, v in Recipe(name="r").to_dict().items() if k in ("views", "train", "teacher", "kd")}
    recipe["train"] = {**recipe["train"], "epochs": epochs, "budget": budget}
    recipe["train"] |= {"samples": "full"} if budget == "samples" else {}
    subset = more.pop("subset_hash", f"{scorer}-{kept}-{seed}")
    run = {"verb": "train", "subset": subset, "kd_weight": "auto" if kd == AUTO else kd, "seed": seed}
    result: dict[str, Any] = {
        "role": "student", "subset": str(folder / "subset.npz"), "steps": 10, "threads": 1, "processes": 1,
        "package_version": "0",
        "test_accuracy": more.pop("accuracy", 50 + 30 * fraction + 2 * weight + seed), "fraction": fraction, "kept": kept,
        "total": data.total, "scorer": scorer, "balance": "none", "kd_weight": weight, "model": "convnet",
        "classes": data.classes, "dataset": data.name, "fingerprint": data.fingerprint, "budget": budget, "epochs": epochs,
        "samples_seen": samples_seen, "seed": seed, "device": "cpu", "seconds": {"train": kept / 100},
        "costs": {"train": cost_of(samples_seen, 0, kept / 100)},
    }  # fmt: skip
    if weight or kd == AUTO:
        teacher = folder.parent.parent / "teachers" / "t"
        result |= {"teacher": [{"folder": str(teacher), "model": "convnet", "test_accuracy": 90.0, "weights": "abc"}]}
        result |= {"temperature": 4.0}
        result["seconds"] |= {"soft_labels": 0.4, "search": 1.5}
        for part, trained, evaluated, seconds in (("teacher", 5000, 0, 9.0), ("soft_labels", 0, 2 * kept, 0.4)):
            result["costs"][part] = cost_of(trained, evaluated, seconds)
    if kd == AUTO:
        result["costs"]["search"] = cost_of(300, 900, 1.5)
        result["kd_weight_search"] = search_of(weight)
    folder.mkdir(parents=True)
    ids = np.arange(kept, dtype=np.int64)
    Subset(ids, SubsetMetadata(**common_fields(data), scorer=scorer, fraction=fraction, scores=scores)).save(
        folder / "subset.npz"
    )
    tables = {"run": run, **recipe, "environment": {"data": data.name, "threads": 1, "device": "cpu"}}
    (folder / "config.toml").write_text(to_toml(tables))
    more["costs"] = result["costs"] | more.get("costs", {})
    write_json(folder / "result.json", {**result, **more})
    return folder


def write_row(sweep: Path, config: dict[str, Any], result: dict[str, Any]) -> None:
    """Write a trial of a sweep."""
    (sweep / "trials").mkdir(parents=True, exist_ok=True)
    write_json(sweep / "store.json", StoreManifest(about={}).to_json())
    trial = Trial(config=config, result=result, seconds=1.0)
    write_json(sweep / "trials" / f"{config_hash(config, 16)}.json", trial.to_json())


def write_failure(sweep: Path, config: dict[str, Any], error: str) -> None:
    """Write a failed trial of a sweep."""
    (sweep / "failed").mkdir(parents=True, exist_ok=True)
    write_json(sweep / "store.json", StoreManifest(about={}).to_json())
    failure = FailedTrial(config=config, error=error)
    write_json(sweep / "failed" / f"{config_hash(config, 16)}.json", failure.to_json())


@pytest.fixture
def make(tmp_path: Path, digits: Dataset) -> Make:
    """Return a function that writes a student into the workspace `w`."""

    def write(name: str, **options: Any) -> Path:
        return write_run(tmp_path / "w" / "students" / name, options.pop("data", digits), **options)

    return write


def test_a_workspace_a_folder_of_runs_and_a_run_give_the_same_student(make: Make, tmp_path: Path) -> None:
    run = make("a")
    for places in ([run], [run.parent], [tmp_path / "w"], [run, run.parent, tmp_path / "w"]):
        runs = find_runs(places)
        assert [s.folder for s in runs.runs] == [run]
        assert tmp_path / "w" in runs.roots


def test_a_sweep_gives_its_trials_and_failures(make: Make, tmp_path: Path) -> None:
    run, sweep = make("a"), tmp_path / "w" / "sweeps" / "s"
    result = read_json(run / "result.json")
    write_row(sweep, {"seed": 0}, {**result, "folder": "../../students/a"})
    write_row(sweep, {"seed": 2}, {"accuracy": 3})
    write_failure(sweep, {"seed": 3}, "it <broke>")
    listing = find_runs([sweep])
    assert [s.folder.resolve() for s in listing.runs] == [run]
    assert [error for _, error in listing.failures] == ["it <broke>"]
    assert len(listing.left_out) == 1
    assert "'role' is missing" in listing.left_out[0][1]
    assert len(find_runs([tmp_path / "w"]).runs) == 1, "the same run, found twice"


def test_copies_of_a_run_count_once(make: Make, tmp_path: Path) -> None:
    make("a"), make("again"), make("other", seed=1)
    runs = find_runs([tmp_path / "w"])
    assert (len(runs.runs), runs.repeated) == (2, 1)


def test_unfinished_and_broken_runs_are_left_out_of_a_workspace_and_refused_by_name(make: Make, tmp_path: Path) -> None:
    make("good")
    unfinished, broken = make("unfinished", seed=1), make("broken", seed=2)
    (unfinished / "result.json").unlink()
    (broken / "result.json").write_text('{"test_acc')
    assert len(find_runs([tmp_path / "w"]).left_out) == 2
    with pytest.raises(InvalidFile, match=r"result\.json cannot be read"):
        find_runs([broken])
    with pytest.raises(InvalidValue, match=r"no finished student run .* not finished"):
        find_runs([unfinished])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "headmaster"}, "unknown role 'headmaster'"),
        ({"test_accuracy": "high"}, "'test_accuracy' is 'high'"),
        ({"kd_weight": True}, "'kd_weight' is True"),
        ({"fingerprint": None}, "'fingerprint' is None"),
        ({"kept": 0}, "'kept' is 0"),
        ({"sparsity": {"layers": []}}, "'sparsity.settings' is missing"),
    ],
)
def test_runs_that_are_not_students_are_refused(make: Make, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidFile, match=message):
        find_runs([make("a", **change)])


def test_other_datasets_are_refused_and_other_budgets_are_set_ups(
    make: Make, tmp_path: Path, small_dataset: Dataset
) -> None:
    make("a"), make("b", seed=1), make("long", epochs=7)
    setups = compare(find_runs([tmp_path / "w"]).runs)
    assert [(s.name, len(s.runs), s.differing) for s in setups] == [
        ("A", 2, {"train.epochs": 2}), ("B", 1, {"train.epochs": 7}),
    ]  # fmt: skip
    make("small", data=small_dataset)
    with pytest.raises(IncompatibleInputs, match=r"2 datasets and do not compare.*digits.*generated"):
        check_one_dataset(find_runs([tmp_path / "w"]).runs)


def test_groups_are_runs_that_differ_only_in_the_seed(make: Make, tmp_path: Path) -> None:
    for seed in (0, 1):
        make(f"none{seed}", seed=seed, accuracy=60.0 + seed)
        make(f"auto{seed}", seed=seed, kd=AUTO, accuracy=63.0 + 2 * seed)
        make(f"full{seed}", seed=seed, fraction=1.0, accuracy=70.0)
    make("fixed", kd=0.9, scorer="el2n")
    (comparison,) = compare(find_runs([tmp_path / "w"]).runs)
    groups = comparison.groups
    assert [(g.fraction, g.scorer, g.kd, g.n) for g in groups] == [
        (0.3, "random", NO_KD, 2), (0.3, "random", AUTO, 2), (0.3, "el2n", "KD 0.9", 1), (1.0, ALL, NO_KD, 2),
    ]  # fmt: skip
    assert comparison.main_kd == AUTO
    assert kd_gains(groups[1], groups) == [3.0, 4.0]
    assert kd_gains(groups[2], groups) == [], "no run without KD to pair with"
    full = comparison.full_data
    assert full is not None
    assert (full.mean, full.sd) == (70.0, 0.0)


def test_teacher_and_temperature_are_shown_only_where_they_differ(make: Make, tmp_path: Path) -> None:
    first = make("a", kd=0.9)
    second = make("b", kd=0.9, seed=1, teacher=[{"folder": "t", "model": "resnet18", "weights": "x", "test_accuracy": 95.0}])
    students = find_runs([first]).runs
    assert kd_labels(students) == ["KD 0.9"]
    students = find_runs([first, second]).runs
    assert kd_labels(students) == ["KD 0.9, teacher convnet", "KD 0.9, teacher resnet18"]


def test_a_missing_config_is_not_an_error(tmp_path: Path) -> None:
    assert read_config(tmp_path) == {}


def test_a_teacher_that_was_chosen_makes_one_way_of_kd(make: Make, tmp_path: Path) -> None:
    candidates = [{"folder": m, "model": m, "weights": m, "test_accuracy": 90.0} for m in ("tinynet8", "resnet18")]
    for seed in (0, 1):
        make(f"a{seed}", kd=0.9, seed=seed, teacher=[candidates[seed]], teacher_candidates=candidates)
        make(f"b{seed}", kd=AUTO, seed=seed, teacher=[candidates[seed]], teacher_candidates=candidates)
    students = find_runs([tmp_path / "w"]).runs
    assert kd_labels(students) == ["KD 0.9", "KD 0.9", AUTO, AUTO]
    make("c", kd=0.9)
    students = find_runs([tmp_path / "w"]).runs
    assert set(kd_labels([s for s in students if s.kd != AUTO])) == {
        "KD 0.9, teacher convnet", "KD 0.9, teacher auto of tinynet8, resnet18",
    }  # fmt: skip


def test_runs_with_cutmix_are_another_setup(make: Make, tmp_path: Path) -> None:
    old, plain_, mixed = make("old"), make("plain", seed=1), make("mixed", seed=2)
    for run, share in ((plain_, 0.0), (mixed, 0.5)):
        with (run / "config.toml").open("a") as file:
            file.write(f"\n[cutmix]\nprob = {share}\n")
    setups = compare(find_runs([old, plain_, mixed]).runs)
    assert [(len(s.runs), s.differences) for s in setups] == [
        (2, "cutmix.prob = off"), (1, "cutmix.prob = 0.5"),
    ]  # fmt: skip


def test_runs_with_mixup_are_another_setup(make: Make) -> None:
    plain_, mixed = make("plain"), make("mixed", seed=1)
    with (mixed / "config.toml").open("a") as file:
        file.write("\n[mixup]\nprob = 0.5\nalpha = 0.2\n")
    setups = compare(find_runs([plain_, mixed]).runs)
    assert {s.differences for s in setups} == {
        "mixup.prob = off, mixup.alpha = off", "mixup.prob = 0.5, mixup.alpha = 0.2",
    }  # fmt: skip
