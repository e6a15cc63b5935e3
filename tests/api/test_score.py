"""`dprune score` and `dp.score`: all scorers from shared evidence, external recordings, and refused input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import datapruning as dp
from datapruning import scorers
from datapruning.api.score import available_scorers, score
from datapruning.api.score_paths import scores_path
from datapruning.artifacts.changed_dataset import adapt_scores
from datapruning.artifacts.scorer import Samples
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import UnknownName
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from tests.conftest import CommandResult, fast_options
from tests.helpers.evidence_cases import learning_logits

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
CHEAP = fast_options() + [
    word
    for change in (
        "proxy.model=tinynet8", "proxy.epochs=4", "ensemble.num_members=4", "ensemble.subset_fraction=0.5",
        "ensemble_member.model=tinynet8", "ensemble_member.epochs=1",
    )
    for word in ("--set", change)
]  # fmt: skip
NAMES = sorted(scorers.find_scorers())


def saved(data: Dataset, path: Path) -> Path:
    """Save a dataset as an .npz file."""
    arrays = {}
    for role, split in (("train", data.train), ("test", data.test)):
        arrays |= {f"{role}_images": split.images, f"{role}_labels": split.labels}
    np.savez(path, **arrays)
    return path


def loop(folder: Path, total: int = 30, epochs: int = 3) -> Path:
    """Make a recording of an external loop."""
    logits, labels = learning_logits(epochs, total)
    recorder = dp.record(folder, "custom", total=total, epochs=epochs)
    for epoch in range(epochs):
        recorder.start_epoch(epoch)
        recorder.update(torch.from_numpy(logits[epoch]), torch.from_numpy(labels), np.arange(total))
        recorder.end_epoch()
    return recorder.finish()


def test_every_scorer_on_the_command_line(dprune: Dprune, small_dataset: Dataset, tmp_path: Path) -> None:
    data = saved(small_dataset, tmp_path / "small.npz")
    command = dprune("score", "--data", data, "--scorer", "all", "--out", "scores", *CHEAP)
    assert command.code == 0, command.err
    assert command.out.splitlines() == [f"{name}: scores/{name}.npz" for name in scorers.find_scorers()]
    assert "evidence: 2 proxies and 4 members of an ensemble train on" in command.err
    for name in NAMES:
        scores = dp.load_scores(tmp_path / "scores" / f"{name}.npz")
        assert (scores.scorer, scores.values.shape) == (name, (120,))
        assert np.isfinite(scores.values).all()
        assert len(np.unique(scores.values)) > 2, name
    (recording,) = (tmp_path / "dprune-runs" / "evidence").iterdir()  # one for all of them
    readable = available_scorers(recording)
    assert set(NAMES) - set(readable) == {"grand", "grand-last", "memorization", "memorization-plain"}
    repeated = dprune("score", "--data", data, "--scorer", "tdds,knn", "--out", "scores", *CHEAP)
    assert repeated.code == 0
    assert f"evidence: using {recording.relative_to(tmp_path)}" in repeated.err
    assert "there already, with the same content" in repeated.err
    output = dprune("score", "--recording", recording, "--scorer", "all", "--out", "read")
    assert output.out.splitlines() == [f"{name}: read/{name}.npz" for name in readable]
    for name in readable:
        one, two = (dp.load_scores(tmp_path / folder / f"{name}.npz") for folder in ("scores", "read"))
        np.testing.assert_array_equal(one.values, two.values, err_msg=name)
        assert one.meta.fingerprint == two.meta.fingerprint
    assert dprune("inspect", "scores/tdds.npz").code == 0


def test_the_cost_message_uses_singular_and_plural(dprune: Dprune, small_dataset: Dataset, tmp_path: Path) -> None:
    data = saved(small_dataset, tmp_path / "small.npz")
    prices = {"aum": "1 proxy trains on", "el2n": "2 proxies train on", "memorization": "4 members of an ensemble train on"}
    for name, price in prices.items():
        command = dprune("score", "--data", data, "--scorer", name, *CHEAP)
        assert command.code == 0, command.err
        assert f"evidence: {price} " in command.err


def test_the_model_is_that_of_proxies_and_of_members(
    dprune: Dprune, expect_refusal: ExpectRefusal, small_dataset: Dataset, tmp_path: Path
) -> None:
    arguments = ("score", "--data", saved(small_dataset, tmp_path / "small.npz"), "--scorer", "aum,memorization", *CHEAP)
    first = dprune(*arguments)
    assert first.code == 0, first.err
    repeated = dprune(
        *arguments, "--set", "proxy.model=convnet", "--set", "ensemble_member.model=convnet", "--model", "tinynet8"
    )
    assert repeated.out == first.out
    assert repeated.err.count("with the same content") == 2
    assert "unknown model 'tinynet9'" in expect_refusal(*arguments, "--model", "tinynet9")


def test_constant_scores_are_stored_with_a_warning(
    dprune: Dprune,
    make_context: Callable[..., Context],
    small_dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """TDDS measures deviations of changes from their mean, which are zero for the single change of two epochs."""
    line = "tdds: every sample has the same score, 0: it cannot rank; record more epochs"
    short, long = loop(tmp_path / "short", epochs=2), loop(tmp_path / "long", epochs=3)
    command = dprune("score", "--recording", short, "--scorer", "tdds,aum", "--out", "scores")
    assert command.code == 0, command.err
    assert command.err.splitlines() == [line]
    assert not dp.load_scores(tmp_path / "scores" / "tdds.npz").values.any()
    assert dprune("score", "--recording", long, "--scorer", "tdds").err == ""
    score(make_context(small_dataset, "proxy.model=tinynet8"), "tdds")
    assert line in capsys.readouterr().err.splitlines()


def test_the_list_describes_each_scorer(dprune: Dprune) -> None:
    lines = dprune("score", "--list").out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == NAMES
    for name, start in zip(NAMES, range(0, len(lines), 5), strict=True):
        scorer = scorers.get_scorer(name)
        assert lines[start : start + 5] == [
            name, f"  reads   {scorer.needs.__name__}", f"  cost    {scorer.cost}", f"  sign    {scorer.sign}",
            f"  source  {scorer.source}",
        ]  # fmt: skip


def test_an_external_recording_is_scored_in_its_folder_or_at_out(dprune: Dprune, tmp_path: Path) -> None:
    folder = loop(tmp_path / "custom")
    command = dprune("score", "--recording", folder, "--scorer", "all")
    assert command.code == 0, command.err
    assert sorted(path.stem for path in (folder / "scores").iterdir()) == sorted(available_scorers(folder))
    command = dprune("score", "--recording", folder, "--scorer", "aum", "--out", "one.npz")
    assert command.out == "aum: one.npz\n"
    command = dprune("select", "--scores", "one.npz", "--fraction", "0.5", "--out", "half.npz")
    assert command.code == 0
    assert len(dp.load_subset(tmp_path / "half.npz")) == 15


def test_one_file_for_many_scorers_is_refused(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    assert f"s.npz is one file, but {len(NAMES)} scorers" in expect_refusal(
        "score", "--scorer", "all", "--out", "s.npz", *CHEAP
    )
    folder = loop(tmp_path / "custom")
    count = len(available_scorers(folder))
    assert f"is one file, but {count} scorers write one each; name a folder" in expect_refusal(
        "score", "--recording", folder, "--scorer", "all", "--out", "s.npz"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scorer", "aum,emtropy"], "unknown scorer 'emtropy': did you mean 'entropy'?"),
        (["--scorer", "all,aum"], "unknown scorer 'all'"),
        (["--scorer", "aum,el2n"], "has no evaluation pass at an early epoch, which EL2N is read from"),
        (["--scorer", "random,grand"], "scorer 'grand' reads Gradients"),
        (["--scorer", "knn"], "has no embeddings"),
        (["--scorer", " , "], "name at least one scorer"),
    ],
)
def test_scorers_that_a_recording_does_not_support_are_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in expect_refusal("score", "--recording", loop(tmp_path / "custom"), *arguments)


def test_a_folder_without_a_recording_is_refused(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    for folder in ("photographs", "absent"):
        line = expect_refusal("score", "--recording", folder, "--scorer", "aum")
        assert f"{folder} is not a recording: it has no recording.json (dprune score makes one)" in line
    unfinished = loop(tmp_path / "custom")
    (unfinished / "run-000" / "done.json").unlink()
    assert "no run that was trained to the end" in expect_refusal("score", "--recording", unfinished, "--scorer", "aum")


def test_invalid_evidence_settings_are_refused_before_training(expect_refusal: ExpectRefusal) -> None:
    for change, message in {
        "ensemble_member.model=tinynet9": "unknown model 'tinynet9': did you mean 'tinynet8'?",
        "evidence.full_runs=3": "full_runs lies in 0..2; got 3",
        "ensemble.num_members=1": "num_members lies in 2..",
        "ensemble.subset_fraction=1.0": "subset_fraction lies in 0.05..0.95",
    }.items():
        assert message in expect_refusal("score", "--scorer", "all", *CHEAP, "--set", change)


def test_scores_of_a_dataset_in_another_order_are_made_anew_or_follow_the_images(
    make_context: Callable[..., Context], small_dataset: Dataset
) -> None:
    turned = replace(
        small_dataset, train=Split(small_dataset.train.images[::-1].copy(), small_dataset.train.labels[::-1].copy())
    )
    context, other = make_context(small_dataset), make_context(turned)
    for name in NAMES:
        assert scores_path(context, name, 0) != scores_path(other, name, 0)
    scores = score(context, "knn")
    np.testing.assert_array_equal(dp.open_recording(str(scores.meta.recording)).labels(), small_dataset.train.labels)
    np.testing.assert_array_equal(adapt_scores(scores, turned).values, scores.values[::-1])


def test_default_paths_depend_on_what_a_scorer_reads(small_dataset: Dataset, tmp_path: Path) -> None:
    one, two = (
        open_context(small_dataset, changes=[f"ensemble.num_members={members}"], workspace=tmp_path, loader="memory")
        for members in (10, 20)
    )
    for name, scorer in scorers.find_scorers().items():
        same = scores_path(one, name, 0) == scores_path(two, name, 0)
        assert same == (scorer.needs.__name__ != "SubsetEnsemble"), name
        assert scores_path(one, name, 0) != scores_path(one, name, 1)
    with pytest.raises(UnknownName):
        scores_path(one, "nobody", 0)


def test_random_scores_need_no_evidence(make_context: Callable[..., Context], small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    scores = score(context, "random", seed=4)
    np.testing.assert_array_equal(scores.values, scorers.get_scorer("random")(Samples(120, 4))[0])
    assert not (context.workspace / "evidence").exists()
