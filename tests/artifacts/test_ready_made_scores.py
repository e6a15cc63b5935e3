"""Ready-made scores: opened by name, without images, and of their dataset alone; and the script that makes them."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from benchmarks.ready_made import FOLDER, MANIFEST, MAX_BYTES, PLANS, SCORERS, folder_bytes, main, save_compact
from datapruning import recipes
from datapruning.artifacts import ready_made_scores
from datapruning.artifacts.metadata import ScoresMetadata
from datapruning.artifacts.ready_made_scores import ready_made_names
from datapruning.artifacts.scorer import Samples
from datapruning.artifacts.scores import Scores
from datapruning.config.recipe import read_recipe
from datapruning.data.dataset import Dataset
from datapruning.data.registry import SOURCES
from datapruning.errors import UnknownName
from datapruning.io.json import read_json
from datapruning.scorers import get_scorer
from datapruning.utils.console import quiet
from datapruning.utils.fraction import kept_count
from datapruning.utils.system import PROJECT_ROOT
from tests.conftest import FAST, CommandResult, fast_options


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the ready-made scores of the digits, which the script makes in seconds."""
    folder = tmp_path_factory.mktemp("toy")
    with quiet():  # or else the time that it takes is measured first
        main(["--toy", "--out", str(folder / "ready_made"), "--workspace", str(folder / "workspace")])
    return folder / "ready_made"


@pytest.fixture
def digits_scores(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package hold the ready-made scores of the digits instead of its own."""
    monkeypatch.setattr(ready_made_scores, "FOLDER", toy)


@pytest.mark.parametrize("name", ready_made_names())
def test_the_files_of_the_package_are_intact_and_described(name: str) -> None:
    dataset, _, scorer = name.partition(":")
    scores, manifest = dp.load_scores(name), read_json(FOLDER / dataset / MANIFEST)
    meta = scores.meta
    assert dataset in SOURCES
    assert (meta.dataset, meta.spec, meta.scorer, meta.recording) == (dataset, dataset, scorer, None)
    assert (meta.total, meta.fingerprint) == (manifest["total"], manifest["fingerprint"])
    assert scorer in manifest["scorers"]
    assert scores.labels is not None
    assert meta.class_names is not None
    assert len(np.unique(scores.labels)) == len(meta.class_names)
    assert (scores.stderr is not None) or scorer != "memorization"
    if scorer == "random":
        np.testing.assert_array_equal(scores.values, get_scorer("random")(Samples(meta.total, 0))[0])


def test_the_package_holds_them_and_they_are_small() -> None:
    assert {"cifar100:random", "fashion-mnist:random"} <= set(ready_made_names())
    assert folder_bytes(FOLDER) < MAX_BYTES
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["datapruning.artifacts"]
    packed = {path for pattern in patterns for path in FOLDER.parent.glob(pattern)}
    assert packed == {path for path in FOLDER.rglob("*") if path.is_file()}


def test_all_scorers_of_both_datasets_fit(tmp_path: Path) -> None:
    """A tenth of the numbers of both datasets, without any pattern; el2n and memorization have standard errors."""
    rng = np.random.default_rng(0)
    for total, classes in ((5_000, 100), (6_000, 10)):
        labels = rng.integers(0, classes, total).astype(np.int32)
        for scorer in SCORERS:
            meta = ScoresMetadata(
                dataset="d", fingerprint="f", total=total, package_version="0", created="now", scorer=scorer,
                class_names=tuple(map(str, range(classes))), recording="evidence/of/this/machine",
            )  # fmt: skip
            values, stderr = rng.normal(size=(2, total)).astype(np.float32)
            with_stderr = scorer in ("el2n", "memorization")
            path = tmp_path / str(classes) / f"{scorer}.npz"
            save_compact(Scores(values, meta, stderr if with_stderr else None, labels), path)
            saved = dp.load_scores(path)
            np.testing.assert_allclose(saved.values, values, rtol=2**-11, atol=2**-24)
            np.testing.assert_array_equal(saved.labels, labels)
            assert saved.meta.recording is None
    assert MAX_BYTES / 20 < folder_bytes(tmp_path) < MAX_BYTES / 10


@pytest.mark.usefixtures("digits_scores")
def test_the_script_makes_all_scores_with_a_manifest(toy: Path, digits: Dataset) -> None:
    assert ready_made_names() == sorted(f"digits:{scorer}" for scorer in SCORERS)
    entries = read_json(toy / "digits" / MANIFEST)["scorers"]
    assert set(entries) == set(SCORERS)
    assert entries["memorization"]["members"] == 10
    assert 10 < entries["memorization"]["test_accuracy"]["mean"] <= 100
    assert entries["el2n"]["network"] == "tinynet8"
    assert dp.load_scores("digits:memorization").stderr is not None
    assert dp.load_scores("digits:aum").meta.fingerprint == digits.fingerprint
    before = {path: path.read_bytes() for path in toy.rglob("*.npz")}
    main(["--toy", "--out", str(toy), "--workspace", str(toy.with_name("workspace"))])
    assert {path: path.read_bytes() for path in toy.rglob("*.npz")} == before, "nothing is made or written again"


def test_every_plan_fits_its_recipe() -> None:
    for plan in PLANS.values():
        recipe, _ = read_recipe(recipes.path_of(plan.recipe), plan.changes)
        assert recipe.evidence.early_epoch <= recipe.proxy.epochs


def test_a_selection_needs_no_images(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    command = dprune("select", "--scores", "cifar100:random", "--fraction", "0.3", "--balance", "class", "--out", "s.npz")
    assert command.code == 0, command.err
    subset, scores = dp.load_subset("s.npz"), dp.load_scores("cifar100:random")
    assert scores.labels is not None
    assert np.bincount(scores.labels[subset.indices]).tolist() == [kept_count(0.3, 500)] * 100
    np.testing.assert_array_equal(subset.indices, dp.select("cifar100:random", 0.3, balance="class").indices)
    few = dprune("select", "--scores", "cifar100:random", "--fraction", "0.001")
    assert "of 100 classes" in few.err
    assert {path.name for path in tmp_path.iterdir()} == {"s.npz", "dprune-runs"}


@pytest.mark.usefixtures("digits_scores")
def test_a_subset_trains_on_its_dataset_and_is_refused_on_another(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], small_dataset: Dataset
) -> None:
    assert dprune("select", "--scores", "digits:forgetting", "--fraction", "0.2", "--out", "s.npz").code == 0
    command = dprune("train", "--subset", "s.npz", "--kd-weight", "0", *fast_options())
    assert command.code == 0, command.err
    assert "keeping 288 of 1,438" in command.out
    by_name = dprune("train", "--scores", "digits:forgetting", "--fraction", "0.2", "--kd-weight", "0", *fast_options())
    assert by_name.out == command.out, "the same run"
    refusal = expect_refusal("train", "--subset", "s.npz", "--data", "cifar100")
    assert "s.npz was made from digits, not from cifar100" in refusal
    train, test = small_dataset.train, small_dataset.test
    np.savez(
        "other.npz", train_images=train.images, train_labels=train.labels, test_images=test.images, test_labels=test.labels
    )
    assert "subset was made from another dataset: digits" in expect_refusal(
        "train", "--subset", "s.npz", "--data", "other.npz"
    )
    refusal = expect_refusal("select", "--scores", "digits:aum", "--fraction", "0.2", "--data", "other.npz")
    assert "these scores were made from another dataset: digits" in refusal


@pytest.mark.usefixtures("digits_scores")
def test_files_of_such_names_and_unknown_names_are_said(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], tmp_path: Path
) -> None:
    refusal = expect_refusal("select", "--scores", "digits:forgeting", "--fraction", "0.3")
    assert "unknown ready-made scores 'digits:forgeting': did you mean 'digits:forgetting'? known: digits:aum, " in refusal
    for arguments in (
        ("inspect", "digits:oops"),
        ("diff", "digits:oops", "digits:aum"),
        ("train", "--scores", "digits:oops"),
    ):
        fraction = ("--fraction", "0.3") if arguments[0] == "train" else ()
        assert "unknown ready-made scores 'digits:oops'" in expect_refusal(*arguments, *fraction)
    with pytest.raises(UnknownName, match="known: digits:aum"):
        dp.load_scores("cifar100:random")
    dp.load_scores("digits:el2n").save("digits:aum")
    command = dprune("inspect", "digits:aum")
    assert "digits:aum: a scores file, intact\n  scorer aum" in command.out
    assert f"digits:aum means the ready-made scores; the file of that name in this folder is {tmp_path / 'digits:aum'}" in (
        command.err
    )
    assert dp.load_scores(tmp_path / "digits:aum").scorer == "el2n"
    Path("digits:aum").rename("digits:mine")
    assert dp.load_scores("digits:mine").scorer == "el2n"


@pytest.mark.usefixtures("digits_scores")
def test_the_other_commands_take_them(dprune: Callable[..., CommandResult]) -> None:
    assert "rank correlation" in dprune("diff", "digits:aum", "digits:el2n").out
    assert dprune("export", "digits:memorization", "--out", "m.csv").out.startswith("1,438 rows of id, score, stderr")


@pytest.mark.usefixtures("digits_scores")
def test_the_example_goes_from_a_name_to_a_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    functions = runpy.run_path(str(PROJECT_ROOT / "examples" / "ready_made_scores.py"))
    subset = functions["choose"]("digits:aum", 0.2)
    assert functions["train"]("digits", FAST).result.kept == len(subset)


def test_the_documentation_lists_those_there_are() -> None:
    page = (PROJECT_ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
    section = page.partition("\n## Ready-made scores\n")[2].partition("\n## ")[0]
    rows = "".join(line for line in section.splitlines() if line.startswith("| `"))
    assert sorted(re.findall(r"`([\w-]+:[\w-]+)`", rows)) == ready_made_names()
