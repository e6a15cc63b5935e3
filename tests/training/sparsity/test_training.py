"""`dprune train --sparsity`: from the command line to the weights, killed and resumed, exported, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datapruning as dp
from datapruning.config.sparsity import CRITERIA
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.io.tensors import load_tensors
from datapruning.models import create_model
from datapruning.runs.context import Context
from datapruning.runs.result import StudentResult
from datapruning.runs.run import Run
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.sparsity.export import load_sparse, save_sparse
from datapruning.training.sparsity.masks import load_masks
from tests.conftest import CommandResult, fast_options
from tests.helpers.results import student_result

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
QUICK = ["--kd-weight", "0", "--fraction", "0.2", *fast_options(), "--model", "tinynet8"]


def student(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    (folder,) = (tmp_path / "dprune-runs" / "students").iterdir()
    return folder, json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_number_of_kept_weights_is_as_printed(dprune: Dprune, tmp_path: Path, criterion: str) -> None:
    method = ["--self-distill", "cs-kd"] if criterion == "epsd" else []
    command = dprune("train", *QUICK, "--sparsity", "0.9", "--criterion", criterion, *method)
    assert command.code == 0, command.err
    folder, result = student(tmp_path)
    pruned = result["sparsity"]
    assert (pruned["kept"], pruned["settings"]["criterion"]) == (round(pruned["total"] * 0.1), criterion)
    assert f"(90.00% removed), by {criterion}" in command.err
    assert f"{pruned['kept']:,} of {pruned['total']:,} weights by {criterion}" in command.out
    masks, _ = load_masks(folder / "masks.npz")
    weights, _ = load_tensors(folder / "model.safetensors")
    for name, bits in masks.tensors.items():
        assert not weights[name].numpy()[~bits].any()
        assert weights[name].numpy()[bits].all()
    assert sum(layer["kept"] for layer in pruned["layers"]) == pruned["kept"] == masks.kept
    assert 0 < pruned["flops_without_zeros"] < pruned["flops"]
    description = dprune("inspect", folder)
    assert f"{pruned['kept']:,} of {pruned['total']:,} kept" in description.out
    assert "kept (" in dprune("inspect", folder / "masks.npz").out


@pytest.mark.parametrize("method", ["cs-kd", "ps-kd", "dlb", "tf-kd"])
def test_epsd_with_each_self_distillation(dprune: Dprune, tmp_path: Path, method: str) -> None:
    more = [
        "--set",
        "sparsity.match_gradients=true",
        "--set",
        "sparsity.mode=first-order",
        "--set",
        "sparsity.fresh_inner_batches=true",
    ]
    command = dprune("train", *QUICK, "--sparsity", "0.8", "--self-distill", method, *more)
    assert command.code == 0, command.err
    _, result = student(tmp_path)
    assert (result["self_distill"]["method"], result["sparsity"]["settings"]["mode"]) == (method, "first-order")
    assert result["costs"]["prune"]["samples_seen"] > 0


def test_with_a_teacher_the_search_and_its_probes_are_pruned_too(dprune: Dprune, tmp_path: Path) -> None:
    arguments = ["--fraction", "0.3", *fast_options(), "--set", "train.epochs=2", "--set", "teacher.model=tinynet8"]
    command = dprune(
        "train",
        *arguments,
        "--model",
        "tinynet8",
        "--sparsity",
        "0.8",
        "--self-distill",
        "ps-kd",
        "--set",
        "sparsity.loss=kd",
    )
    assert command.code == 0, command.err
    folder, result = student(tmp_path)
    assert result["kd_weight_search"] is not None
    masks, _ = load_masks(folder / "masks.npz")
    weights, _ = load_tensors(folder / "model.safetensors")
    assert all(not weights[name].numpy()[~bits].any() for name, bits in masks.tensors.items())


@pytest.fixture
def pruned_context(small_dataset: Dataset, make_context: Callable[[Dataset], Context]) -> Context:
    return (
        make_context(small_dataset)
        .with_train(epochs=3, model="tinynet8")
        .with_settings("self_distill", method="ps-kd")
        .with_sparsity(0.8)
    )


def test_a_killed_run_resumes_to_the_same_bits(
    small_dataset: Dataset, pruned_context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(out: Path) -> dp.FinishedRun:
        return dp.train(pruned_context, fraction=0.5, kd_weight=0, out=out)

    uninterrupted = train(tmp_path / "whole")
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    save, saves = Checkpoint.save, []

    def dies(self: Checkpoint, *arguments: Any) -> None:
        save(self, *arguments)
        saves.append(self.path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "again")
    monkeypatch.setattr(Checkpoint, "save", save)
    assert any(name.startswith("extra.mask.") for name in load_tensors(saves[0])[0])
    repeated = train(tmp_path / "again")
    for name in ("model.safetensors", "masks.npz"):
        one, two = ((run.folder / name).read_bytes() for run in (uninterrupted, repeated))
        if name.endswith("npz"):
            assert load_masks(uninterrupted.folder / name)[0].digest == load_masks(repeated.folder / name)[0].digest
        else:
            assert one == two
    assert repeated.result.sparsity is not None
    assert repeated.result.sparsity == uninterrupted.result.sparsity


def test_a_checkpoint_of_other_masks_is_refused(
    small_dataset: Dataset, pruned_context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    save = Checkpoint.save

    def dies(self: Checkpoint, *arguments: Any) -> None:
        save(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        dp.train(pruned_context, fraction=0.5, kd_weight=0, out=tmp_path / "run")
    monkeypatch.setattr(Checkpoint, "save", save)
    masks, metadata = load_masks(tmp_path / "run" / "masks.npz")
    name = next(iter(masks.tensors))
    masks.tensors[name][...] = ~masks.tensors[name]
    masks.save(tmp_path / "run" / "masks.npz", metadata.sparsity, metadata.cost)
    with pytest.raises(IncompatibleInputs, match="made with other masks"):
        dp.train(pruned_context, fraction=0.5, kd_weight=0, out=tmp_path / "run")


def test_masks_depend_only_on_the_seed(pruned_context: Context, tmp_path: Path) -> None:
    results = [
        dp.train(pruned_context, fraction=0.5, kd_weight=0, seed=seed, out=tmp_path / name).result
        for seed, name in ((0, "one"), (0, "two"), (1, "three"))
    ]
    digests = [result.sparsity.masks for result in results if result.sparsity is not None]
    assert digests[0] == digests[1] != digests[2]


def test_labels_are_not_smoothed_in_the_pruning_stage(pruned_context: Context, tmp_path: Path) -> None:
    """As in SNIP and ProsPr, so that criteria differ by the term of self-distillation alone."""
    results = [
        dp.train(pruned_context.with_train(label_smoothing=value), fraction=0.5, kd_weight=0, out=tmp_path / str(value))
        for value in (0.0, 0.5)
    ]
    digests = [run.result.sparsity.masks for run in results if run.result.sparsity is not None]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("model", "criterion", "warned"), [
    ("fastnet16", "snip", True), ("fastnet16-random-init", "snip", False), ("fastnet16", "random", False),
])  # fmt: skip
def test_weights_that_no_criterion_can_rank_are_warned_of(
    dprune: Dprune, model: str, criterion: str, *, warned: bool
) -> None:
    arguments = [*QUICK, "--model", model, "--sparsity", "0.5", "--criterion", criterion]
    command = dprune("train", *arguments)
    assert command.code == 0, command.err
    assert ("are 0 at its start, and snip cannot rank them; take the network fastnet16-random-init" in command.err) == warned


def test_the_compact_file_holds_the_same_weights(dprune: Dprune, tmp_path: Path) -> None:
    assert dprune("train", *QUICK, "--sparsity", "0.95", "--criterion", "snip").code == 0
    folder, _ = student(tmp_path)
    for name in ("dense.safetensors", "dense.pt2"):
        command = dprune("export", folder, "--out", name)
        assert command.code == 0, command.err
        assert "% of the weights of its layers are zeros, which save neither space nor time here" in command.out
    command = dprune("export", folder, "--sparse", "--out", "student.npz")
    assert "removed)" in command.out
    assert "saves space in the file, not time or memory" in command.out
    assert (tmp_path / "student.npz").stat().st_size < (tmp_path / "dense.safetensors").stat().st_size
    dense, sparse = load_tensors(tmp_path / "dense.safetensors")[0], load_sparse(tmp_path / "student.npz")
    assert dense.keys() == sparse.keys()
    assert all(torch.equal(dense[name], sparse[name]) for name in dense)
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = create_model("tinynet8", (8, 8, 1), 10, seed=1)
    network.load_state_dict(sparse)
    exported = torch.export.load(tmp_path / "dense.pt2").module()
    torch.testing.assert_close(exported(images), network.eval()(images))
    assert "not zero" in dprune("inspect", "student.npz").out
    for word in ("dense.safetensors", "student.npz"):
        repeated = dprune("export", folder, "--out", word)
        assert repeated.code == 2
    (tmp_path / "cut.npz").write_bytes((tmp_path / "student.npz").read_bytes()[:500])
    with pytest.raises(InvalidFile):
        load_sparse(tmp_path / "cut.npz")
    masks, _ = load_masks(folder / "masks.npz")
    name = next(iter(masks.tensors))
    with pytest.raises(IncompatibleInputs, match="is not zero where its mask removes it"):
        save_sparse(tmp_path / "x.npz", {**dense, name: torch.ones_like(dense[name])}, masks, student_result())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sparsity", "0"], "between 0 and 1"),
        (["--sparsity", "1"], "between 0 and 1"),
        (["--sparsity", "-0.5"], "between 0 and 1"),
        (["--sparsity", "1.5"], "between 0 and 1"),
        (["--sparsity", "nan"], "between 0 and 1"),
        (["--sparsity", "0.9", "--criterion", "snap"], "did you mean 'snip'"),
        (["--criterion", "snip"], "give the sparsity too (--sparsity)"),
        (["--sparsity", "0.9"], "name a method (cs-kd, ps-kd, dlb, tf-kd)"),
        (["--sparsity", "0.9", "--set", "sparsity.loss=kd"], "there is no teacher"),
        (
            ["--sparsity", "0.9", "--criterion", "snip", "--set", "sparsity.scope=erk", "--set", "sparsity.floor=0.1"],
            "sparsity.floor goes with",
        ),
        (["--sparsity", "0.9", "--set", "sparsity.inner_step=4"], "step"),
    ],
)
def test_invalid_settings_are_refused(expect_refusal: ExpectRefusal, arguments: list[str], message: str) -> None:
    assert message in expect_refusal("train", *QUICK, *arguments)


def test_resumed_with_other_settings_is_refused(dprune: Dprune, tmp_path: Path) -> None:
    arguments = ["train", *QUICK, "--out", "run", "--criterion", "snip"]
    assert dprune(*arguments, "--sparsity", "0.9").code == 0
    command = dprune(*arguments, "--sparsity", "0.8")
    assert command.code == 2
    assert "holds another run" in command.err
    assert "removed" in command.err
    repeated = dprune("train", "--recipe", "run/config.toml", "--loader", "memory", "--out", "rerun")
    assert repeated.code == 0, repeated.err
    one, two = (Run(tmp_path / name).result(StudentResult) for name in ("run", "rerun"))
    assert one is not None
    assert two is not None
    assert (one.sparsity, one.test_accuracy) == (two.sparsity, two.test_accuracy)


def test_masks_of_another_network_are_refused(dprune: Dprune, tmp_path: Path) -> None:
    """In a run that is resumed, and in a finished one that is exported."""
    arguments = ["train", *QUICK[:-2], "--sparsity", "0.9", "--criterion", "snip"]
    for model in ("tinynet8", "tinynet16"):
        assert dprune(*arguments, "--model", model, "--out", model).code == 0
    (tmp_path / "tinynet8" / "masks.npz").replace(tmp_path / "tinynet16" / "masks.npz")
    for name, option in (("sparse.npz", ["--sparse"]), ("plain.safetensors", []), ("plain.pt2", [])):
        command = dprune("export", "tinynet16", *option, "--out", name)
        assert command.code == 2
        assert "masks belong to another model" in command.err
        assert not (tmp_path / name).exists()
    for name in ("result.json", "model.safetensors", "metrics.jsonl"):
        (tmp_path / "tinynet16" / name).unlink()
    before = sorted(path.name for path in (tmp_path / "tinynet16").iterdir())
    command = dprune(*arguments, "--model", "tinynet16", "--out", "tinynet16")
    assert command.code == 2
    assert "masks.npz belong to another model: weight '" in command.err.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "tinynet16").iterdir()) == before


@pytest.mark.parametrize("method", ["cs-kd", "dlb"])
def test_a_subset_with_one_sample_a_class(dprune: Dprune, tmp_path: Path, method: str) -> None:
    """Refused where the method needs pairs within a class, before anything is written; others train."""
    labels = dp.open_dataset("digits").train.labels
    (tmp_path / "one.txt").write_text("".join(f"{np.flatnonzero(labels == label)[0]}\n" for label in range(10)))
    options = ["--kd-weight", "0", *fast_options(), "--data", "digits", "--subset", "one.txt", "--model", "tinynet8"]
    command = dprune("train", *options, "--sparsity", "0.8", "--self-distill", method, "--out", "run")
    assert command.code == (2 if method == "cs-kd" else 0), command.err
    if method == "cs-kd":
        assert "pairs within a class need two kept samples or more" in command.err.splitlines()[-1]
        assert not (tmp_path / "run").exists()


def test_without_sparsity_no_weight_is_pruned(dprune: Dprune, tmp_path: Path) -> None:
    assert dprune("train", *QUICK).code == 0
    folder, result = student(tmp_path)
    assert "sparsity" not in result
    assert not (folder / "masks.npz").exists()
    assert "[sparsity]" not in (folder / "config.toml").read_text()
    assert np.isfinite(result["test_accuracy"])
