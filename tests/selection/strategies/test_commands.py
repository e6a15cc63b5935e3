"""Strategies from the commands: listing, settings, recordings, refusals; and students trained on their subsets."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.evidence import recording as recordings
from datapruning.io.npz import write_npz
from tests.conftest import CommandResult, fast_options, make_dataset
from tests.helpers.strategy_cases import FakeEvidence

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
MakeContext = Callable[..., Any]


def scores_file(path: Path, data: Dataset, **meta: Any) -> Path:
    """Make scores of `data` that increase with the id."""
    column = np.arange(data.total, dtype=np.float32)
    write_npz(path, {"score": column}, {**ScoresMetadata(**common_fields(data), scorer="random").to_json(), **meta})
    return path


def test_the_list_describes_each_strategy(dprune: Dprune) -> None:
    out = dprune("select", "--list").out
    assert out.startswith("beta\n")
    assert "  nested   no\n" in out
    assert "  reads    scores and embeddings, from a recording\n" in out
    assert "  setting  cutoff=0.3 (share of the full set, first ranks, that is dropped; at least 0, below 1)\n" in out


def test_settings_reach_the_subset_and_its_metadata(dprune: Dprune, tmp_path: Path, digits: Dataset) -> None:
    scores = scores_file(tmp_path / "s.npz", digits)
    arguments = [
        "select",
        "--scores",
        scores,
        "--fraction",
        "0.1",
        "--strategy",
        "ccs",
        "--strategy-set",
        "cutoff=0.5",
        "--seed",
        "3",
    ]
    command = dprune(*arguments, "--strategy-set", "strata=10")
    assert command.code == 0, command.err
    assert command.out.startswith("keeping 144 of 1,438 (scorer random, strategy ccs, balance none): ")
    (path,) = (tmp_path / "dprune-runs" / "subsets").iterdir()
    assert path.name.startswith("digits-random-ccs-144-")
    subset = dp.load_subset(path)
    assert subset.indices.max() < 1438 - 719, "the upper half is cut off"
    assert subset.meta.settings == {"cutoff": 0.5, "strata": 10}
    repeated = dp.select(dp.load_scores(scores), "0.1", strategy="ccs", settings={"cutoff": 0.5, "strata": 10}, seed=3)
    assert subset.indices.tolist() == repeated.indices.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "cs"], "unknown strategy 'cs': did you mean 'ccs'?"),
        (["--strategy", "ccs", "--strategy-set", "cutoff=1.5"], "strategy 'ccs': cutoff is at least 0, below 1; got 1.5"),
        (["--strategy", "ccs", "--strategy-set", "cutof=0.5"], "did you mean 'cutoff'?"),
        (["--strategy", "ccs", "--strategy-set", "cutoff"], "a setting is key=value"),
        (["--strategy", "ccs", "--strategy-set", "cutoff=0.7"], "the largest cutoff possible is 0.5"),
        (["--strategy-set", "cutoff=0.1"], "strategy 'top' has no settings"),
        (["--recording", "."], "strategy 'top' reads no recording"),
        (["--strategy", "d2"], "score by forgetting to make one, or name the folder of a recording"),
        (["--strategy", "beta"], "reads label probabilities, and these scores (scorer random) name no recording"),
        (["--strategy", "d2", "--recording", "nowhere"], "nowhere"),
    ],
)
def test_invalid_settings_are_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, arguments: list[str], message: str
) -> None:
    scores = scores_file(tmp_path / "s.npz", digits)
    assert message in expect_refusal("select", "--scores", scores, "--fraction", "0.5", *arguments)


@pytest.mark.parametrize("arguments", [["--strategy", "ccs"], ["--strategy-set", "k=2"], ["--recording", "."]])
def test_plain_ids_take_no_strategy(expect_refusal: ExpectRefusal, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "ids.txt").write_text("1\n2\n")
    assert "--ids FILE keeps exactly those ids" in expect_refusal("select", "--ids", "ids.txt", *arguments)


def test_a_missing_recording_is_named(expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset) -> None:
    scores = scores_file(tmp_path / "s.npz", digits, recording="gone/somewhere")
    line = expect_refusal("select", "--scores", scores, "--fraction", "0.5", "--strategy", "d2")
    assert "gone/somewhere, is missing; score by random again" in line


@pytest.mark.parametrize(
    ("width", "arguments", "message"),
    [(0, [], "width of at least 1"), (2, ["--strategy-set", "k=1000"], "k=1000 neighbours")],
)
def test_embeddings_that_make_no_graph_are_refused(
    expect_refusal: ExpectRefusal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    arguments: list[str],
    message: str,
) -> None:
    data = make_dataset()
    np.savez(
        tmp_path / "data.npz", train_images=data.train.images, train_labels=data.train.labels,
        test_images=data.test.images, test_labels=data.test.labels,
    )  # fmt: skip
    dataset = dp.open_dataset(str(tmp_path / "data.npz"))
    evidence = FakeEvidence(np.zeros(120), np.zeros((120, width), np.float16), None, dataset.name, dataset.fingerprint)
    monkeypatch.setattr(recordings, "open_recording", lambda folder: evidence)
    scores = scores_file(tmp_path / "s.npz", dataset, recording=str(tmp_path))
    assert message in expect_refusal("select", "--scores", scores, "--fraction", "0.5", "--strategy", "d2", *arguments)


def test_scores_bring_their_recording_and_another_one_may_be_given(
    make_context: MakeContext, small_dataset: Dataset, digits: Dataset, tmp_path: Path
) -> None:
    context = make_context(small_dataset)
    scores = dp.score(context, "forgetting")
    folder = Path(str(scores.meta.recording))
    for strategy in ("beta", "d2"):
        subset = dp.select(scores, 0.25, strategy=strategy)
        assert len(subset) == 30
        assert subset.meta.recording == str(folder)
        balanced = dp.select(scores, 0.25, strategy=strategy, balance="class", data=small_dataset)
        sizes = np.bincount(small_dataset.train.labels)
        assert np.bincount(small_dataset.train.labels[balanced.indices]).tolist() == [
            max(1, int(n / 4 + 0.5)) for n in sizes
        ]
    random = dp.score(context, "random")
    with pytest.raises(InvalidValue, match="scorer random"):
        dp.select(random, 0.25, strategy="d2")
    assert len(dp.select(random, 0.25, strategy="d2", recording=folder)) == 30
    with pytest.raises(IncompatibleInputs, match="generated"):
        dp.select(dp.score(digits, "random"), 0.25, strategy="d2", recording=folder)
    with pytest.raises(InvalidFile, match="is not a recording"):
        dp.select(random, 0.25, strategy="d2", recording=tmp_path)


FAST = [*fast_options(), "--kd-weight", "0"]


def test_a_student_records_its_selection_and_can_be_rerun(dprune: Dprune, tmp_path: Path) -> None:
    arguments = ["train", "--fraction", "0.1", "--strategy", "ccs", "--strategy-set", "cutoff=0.2", *FAST]
    command = dprune(*arguments)
    assert command.code == 0, command.err
    (folder,) = (tmp_path / "dprune-runs" / "students").iterdir()
    assert folder.name.startswith("digits-random-ccs-144-kd-0.0-seed0-")
    result = json.loads((folder / "result.json").read_text())
    assert (result["strategy"], result["strategy_settings"]) == ("ccs", ["cutoff=0.2", "strata=50"])
    run = tomllib.loads((folder / "config.toml").read_text())["run"]
    assert (run["strategy"], run["strategy_settings"]) == ("ccs", ["cutoff=0.2", "strata=50"])
    for train_arguments in (arguments, ["train", "--recipe", str(folder / "config.toml"), "--loader", "memory"]):
        assert "finished already" in dprune(*train_arguments).err
    assert "finished already" not in dprune(*arguments, "--strategy-set", "strata=20").err


def test_runs_of_the_top_strategy_have_plain_names(dprune: Dprune, tmp_path: Path) -> None:
    assert dprune("train", "--fraction", "0.1", "--strategy", "top", *FAST).code == 0
    (folder,) = (tmp_path / "dprune-runs" / "students").iterdir()
    assert folder.name.startswith("digits-random-144-kd-0.0-seed0-")
    assert not {"strategy", "strategy_settings"} & set(tomllib.loads((folder / "config.toml").read_text())["run"])
    assert "finished already" in dprune("train", "--fraction", "0.1", *FAST).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "cs", "--scorer", "el2n"], "did you mean 'ccs'?"),
        (["--strategy", "d2"], "score by forgetting to make one"),
        (["--strategy", "ccs", "--strategy-set", "cutoff=2", "--scorer", "el2n"], "got 2"),
    ],
)
def test_train_refuses_before_anything_is_trained(expect_refusal: ExpectRefusal, arguments: list[str], message: str) -> None:
    assert message in expect_refusal("train", "--fraction", "0.5", *arguments, *FAST)


def test_a_subset_records_its_selection(expect_refusal: ExpectRefusal) -> None:
    assert "leave" in expect_refusal("train", "--subset", "s.npz", "--strategy", "ccs", *FAST)
    assert "leave" in expect_refusal("train", "--subset", "s.npz", "--strategy-set", "k=2", *FAST)
