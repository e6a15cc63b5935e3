"""Finished work where nothing may be written: it is used as it is, and what is missing goes into one's own workspace."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.runs.context import Context
from tests.conftest import FAST, CommandResult, make_dataset
from tests.helpers.image_files import make_image_folder
from tests.helpers.read_only import read_only

MakeContext = Callable[..., Context]
SETTINGS = [f"{table}.model=tinynet8" for table in ("train", "teacher", "proxy", "ensemble_member")]
SETTINGS += ["evidence.early_epoch=1", "ensemble.num_members=10", "ensemble_member.epochs=1", "views.num_views=2"]
SCORERS = ("el2n", "aum", "knn", "grand-last", "memorization-plain")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colleague's workspace: a teacher with soft labels of half of the samples, scores, evidence, and a student."""
    folder = tmp_path_factory.mktemp("colleague") / "runs"
    context = dp.open_context(
        make_dataset(), changes=[*FAST, *SETTINGS], loader="memory", device="cpu", workspace=folder
    )  # fmt: skip
    dp.train(context, fraction=0.5, kd_weight=0.5)
    dp.score_all(context, SCORERS)
    return folder


def files_in(folder: Path) -> set[Path]:
    """Return all files below a folder."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_finished_workspace_is_read_without_being_written(
    shared: Path, small_dataset: Dataset, make_context: MakeContext
) -> None:
    context, before = make_context(small_dataset, *SETTINGS, workspace=shared), files_in(shared)
    with read_only(shared):
        assert dp.train(context, fraction=0.5, kd_weight=0.5).folder.parent == shared / "students"
        assert dp.teach(context).folder.parent == shared / "teachers"
        assert {path.parent for path in dp.score_all(context, SCORERS).values()} == {shared / "scores"}
        with pytest.raises(InvalidFile, match=r"cannot be written \(Read-only .*; name another output path or workspace"):
            dp.train(context, fraction=0.3, kd_weight=0.5)
    assert files_in(shared) == before


@pytest.mark.parametrize("place", [read_only, nullcontext], ids=["read-only", "writable"])
def test_what_a_workspace_to_reuse_lacks_goes_into_one_s_own(
    shared: Path, small_dataset: Dataset, make_context: MakeContext, place: Callable[[Path], AbstractContextManager[None]]
) -> None:
    context, before = make_context(small_dataset, *SETTINGS, reuse=[shared]), files_in(shared)
    own = context.workspace
    with place(shared):
        paths = dp.score_all(context, [*SCORERS, "forgetting", "grand"])
        student = dp.train(context, fraction=0.8, kd_weight=0.5)
        assert dp.train(context, fraction=0.5, kd_weight=0.5).folder.parent == shared / "students"
    assert files_in(shared) == before
    assert {paths[name].parent for name in SCORERS} == {shared / "scores"}
    assert {paths[name].parent for name in ("forgetting", "grand")} == {own / "scores"}
    assert Path(student.result.teacher[0].folder).parent == shared / "teachers"
    assert student.folder.parent == own / "students"
    assert student.result.soft_labels_computed == 2 * (96 - 60)
    assert {path.parts[0] for path in files_in(own)} == {"scores", "students", "soft-labels", "evidence"}
    assert {path.name for path in (own / "evidence").rglob("*.npy")} == {"gradient-all.npy"}

    again = make_context(small_dataset, *SETTINGS, workspace=own.parent / "again")
    expected = dp.score_all(again, ["forgetting", "grand"])
    for name, path in expected.items():
        np.testing.assert_array_equal(dp.load_scores(path).values, dp.load_scores(paths[name]).values)
    same = dp.train(again, fraction=0.8, kd_weight=0.5)
    assert (same.folder / "model.safetensors").read_bytes() == (student.folder / "model.safetensors").read_bytes()


def test_half_a_recording_is_not_continued_in_a_workspace_to_reuse(
    shared: Path, small_dataset: Dataset, make_context: MakeContext, tmp_path: Path
) -> None:
    partial = tmp_path / "partial"
    shutil.copytree(shared, partial)
    shutil.rmtree(partial / "scores")
    (run,) = (partial / "evidence").glob("*/run-001")
    shutil.rmtree(run)
    before = files_in(partial)
    context = make_context(small_dataset, *SETTINGS, reuse=[partial])
    with read_only(partial):
        dp.score(context, "el2n")
    assert files_in(partial) == before
    assert len(list((context.workspace / "evidence").glob("*/run-*"))) == 2


def test_the_commands_read_a_read_only_workspace(shared: Path, dprune: Callable[..., CommandResult]) -> None:
    with read_only(shared):
        (scores,) = (shared / "scores").glob("*-aum-*.npz")
        (teacher,) = (shared / "teachers").iterdir()
        (recording,) = (shared / "evidence").iterdir()
        for arguments in (
            ("select", "--scores", scores, "--fraction", 0.1, "--out", "subset.npz"),
            ("select", "--scores", scores, "--fraction", 0.1, "--strategy", "d2", "--out", "d2.npz"),
            ("inspect", scores), ("inspect", teacher), ("export", teacher, "--out", "weights.safetensors"),
            ("score", "--recording", recording, "--scorer", "aum,forgetting", "--out", "scores"),
            ("report", shared, "--out", "report.html"),
        ):  # fmt: skip
            result = dprune(*arguments)
            assert result.code == 0, (arguments, result)
        refused = dprune("score", "--recording", recording, "--scorer", "aum")
        assert refused.code == 2
        assert "cannot be written" in refused.err
    refused = dprune("score", "--scorer", "random", "--reuse", "absent")
    assert refused.code == 2
    assert "--reuse: workspace absent is not there" in refused.err or "workspace absent is not there" in refused.err


def test_decoded_images_of_a_read_only_workspace_are_not_decoded_again(tmp_path: Path) -> None:
    source, theirs, own = str(make_image_folder(tmp_path / "photos", 3, 2)), tmp_path / "theirs", tmp_path / "own"
    first = dp.open_dataset(source, image_size=8, workspace=theirs)
    with read_only(theirs):
        context = dp.open_context(first, workspace=theirs, loader="mmap")
        assert dp.open_dataset(source, image_size=8, workspace=theirs).fingerprint == first.fingerprint
        again = dp.open_dataset(source, image_size=8, workspace=own, reuse=[theirs])
        np.testing.assert_array_equal(np.asarray(again.train.images), np.asarray(context.data.train.images))
        assert not own.exists()
        dp.open_dataset(source, image_size=16, workspace=own, reuse=[theirs])
    assert len(list(own.rglob("train.npy"))) == 1
