"""Run folders: claimed without changing other runs, complete when finished, and rerunnable from config.toml."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.config.recipe import Recipe
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, OutputExists
from datapruning.io.json import read_json
from datapruning.runs.context import Context
from datapruning.runs.result import RunResult
from datapruning.runs.run import Run
from datapruning.runs.run_config import Environment, RunOptions
from tests.conftest import CommandResult, fast_options

RECIPE = Recipe(name="custom")
TABLES = ("views", "train")
OPTIONS = RunOptions(verb="train", data="digits", seed=3)
HERE = Environment(threads=2, device="cpu", data="digits", torch="2", loader="memory")


def content(folder: Path) -> dict[str, bytes]:
    """Return every visible file in a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("[!.]*") if p.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Make a claimed run."""
    run = Run(tmp_path / "deep" / "run")
    with run.open(RECIPE, TABLES, OPTIONS, lambda: HERE):
        pass
    return run


def test_a_new_folder_is_claimed_with_resolved_settings(run: Run) -> None:
    tables = tomllib.loads((run.folder / "config.toml").read_text())
    assert tables["run"] == {"verb": "train", "data": "digits", "seed": 3}
    assert tables["environment"] == HERE.to_json()
    assert run.environment == HERE
    assert set(tables) == {"run", "environment", *TABLES}
    assert tables["train"]["lr"] == RECIPE.train.lr
    assert run.result(RunResult) is None


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with Run(tmp_path).open(RECIPE, TABLES, OPTIONS, lambda: HERE):
        assert (tmp_path / "config.toml").exists()


def test_the_same_run_is_claimed_again_and_keeps_its_environment(run: Run) -> None:
    before = content(run.folder)
    with Run(run.folder).open(Recipe(name="renamed"), TABLES, OPTIONS, lambda: Environment(**{**dict(HERE), "threads": 64})):
        assert content(run.folder) == before
        assert Run(run.folder).environment == HERE


def test_a_run_is_finished_on_the_kind_of_device_that_began_it(run: Run) -> None:
    before = content(run.folder)
    elsewhere = Environment(**{**dict(HERE), "device": "cuda:1"})
    with (
        pytest.raises(IncompatibleInputs, match=r"begun on the device cpu, not on cuda, .*: resume there, or name another"),
        Run(run.folder).open(RECIPE, TABLES, OPTIONS, lambda: elsewhere),
    ):
        raise AssertionError("claimed")
    assert content(run.folder) == before
    (run.folder / "result.json").write_text("{}")
    with Run(run.folder).open(RECIPE, TABLES, OPTIONS, lambda: elsewhere):
        pass  # a finished run is read anywhere


def test_partial_files_of_killed_processes_are_removed(run: Run) -> None:
    (run.folder / ".result.json.1a2b3c.part").write_text("half")
    (run.folder / ".custom.part").touch()
    with Run(run.folder).open(RECIPE, TABLES, OPTIONS, lambda: HERE):
        assert {path.name for path in run.folder.glob(".*.part")} == {".custom.part"}


def test_another_run_is_refused_and_the_difference_named(run: Run) -> None:
    before = content(run.folder)
    for recipe, options, message in (
        (RECIPE, RunOptions(**{**dict(OPTIONS), "seed": 4}), "run.seed is 3 there, 4 here"),
        (RECIPE, RunOptions(**{**dict(OPTIONS), "teacher": ("t",)}), "run.teacher"),
        (Recipe(name="custom", train=TrainConfig(lr=0.5)), OPTIONS, "train.lr is 0.1 there, 0.5 here"),
    ):
        with pytest.raises(OutputExists, match=message), Run(run.folder).open(recipe, TABLES, options, lambda: HERE):
            raise AssertionError("claimed")
    assert content(run.folder) == before


def test_settings_that_a_run_does_not_depend_on_may_differ(run: Run) -> None:
    with Run(run.folder).open(Recipe(name="custom", proxy=TrainConfig(lr=0.5)), TABLES, OPTIONS, lambda: HERE):
        pass


@pytest.mark.parametrize("content", ["folder", "file"])
def test_an_output_path_with_other_content_is_unchanged(tmp_path: Path, content: str) -> None:
    position = tmp_path / "custom"
    if content == "folder":
        position.mkdir()
        (position / "thesis.txt").write_text("the only copy")
    else:
        position.write_text("the only copy")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputExists, match="custom"), Run(position).open(RECIPE, TABLES, OPTIONS, lambda: HERE):
        raise AssertionError("claimed")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_config_is_refused(run: Run) -> None:
    (run.folder / "config.toml").write_text("[run")
    with pytest.raises(InvalidFile, match=r"config\.toml"), Run(run.folder).open(RECIPE, TABLES, OPTIONS, lambda: HERE):
        raise AssertionError("claimed")


def test_a_finished_run_has_all_its_files_and_no_checkpoint(
    make_context: Callable[..., Context], small_dataset: Dataset
) -> None:
    context = make_context(small_dataset)
    finished = dp.train(context, fraction=0.5, kd_weight=0)
    assert set(content(finished.folder)) == {
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
        "result.json",
        "subset.npz",
    }
    assert read_json(finished.folder / "result.json") == finished.result.to_json()
    rows = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert Run(finished.folder).environment == context.environment


@pytest.mark.parametrize("weight", ["0.9", "auto"])
def test_a_run_is_repeated_from_its_config(dprune: Callable[..., CommandResult], tmp_path: Path, weight: str) -> None:
    arguments = ["--kd-weight", weight, "--seed", "5", "--balance", "class", *fast_options(), "--set", "teacher.epochs=2"]
    first = dprune("train", "--fraction", "0.2", "--out", "first", *arguments)
    assert first.code == 0, first.err
    repeated = dprune("train", "--recipe", "first/config.toml", "--out", "second", "--loader", "memory")
    assert repeated.code == 0, repeated.err
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("first", "second"))
    for key in ("test_accuracy", "kd_weight", "seed", "fraction", "kept", "scorer", "balance", "samples_seen"):
        assert one[key] == two[key], key
    subsets = [dp.load_subset(tmp_path / name / "subset.npz").indices for name in ("first", "second")]
    assert np.array_equal(*subsets)
    assert (tmp_path / "first/model.safetensors").read_bytes() == (tmp_path / "second/model.safetensors").read_bytes()
    configs = [tomllib.loads((tmp_path / name / "config.toml").read_text()) for name in ("first", "second")]
    assert configs[0] == configs[1]


def test_a_run_on_an_npz_is_repeated_from_its_config(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    labels = np.arange(60) % 3
    (tmp_path / "data").mkdir()
    arrays = {"train_images": images, "train_labels": labels, "test_images": images[:9], "test_labels": labels[:9]}
    np.savez(tmp_path / "data" / "custom.npz", **arrays)
    arguments = ("--fraction", "0.5", "--kd-weight", "0", "--set", "train.epochs=1", "--loader", "memory")
    assert dprune("train", "--data", "data/custom.npz", *arguments, "--out", "first").code == 0
    repeated = dprune("train", "--recipe", "first/config.toml", "--out", "again", "--loader", "memory")
    assert repeated.code == 0, repeated.err
    assert Run(tmp_path / "again").result(RunResult) is not None
