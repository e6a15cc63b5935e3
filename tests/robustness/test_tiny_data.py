"""Tiny and lopsided data: every command gives a result or one clear line, never a traceback, never NaN in a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.evidence.members import train_member
from datapruning.selection.strategies import find_strategies
from tests.conftest import CommandResult, fast_options

Dprune = Callable[..., CommandResult]

LABELS: dict[str, tuple[list[int], list[int]]] = {
    "2 samples": ([0, 1], [0, 1]),
    "3 samples": ([0, 0, 1], [0, 1]),
    "5 classes of 1": ([*range(5)], [*range(5)]),
    "9 to 1": ([0] * 9 + [1], [0, 0, 0, 1]),
    "1,000 to 1": ([0] * 1000 + [1], [0] * 50 + [1]),
    "1 class": ([0] * 20, [0] * 5),
    "no test sample of a class": ([0, 1, 2] * 6, [0, 1] * 3),
}
"""Labels of the training and the test split."""
MODELS = [f"{table}.model=tinynet8" for table in ("train", "teacher", "proxy", "ensemble_member")]
OPTIONS = [
    "--data", "data.npz", *fast_options(),
    *(word for change in (*MODELS, "ensemble.num_members=10", "ensemble_member.epochs=1") for word in ("--set", change)),
]  # fmt: skip
FRACTIONS = ("0.1", "0.5", "1")
TRAINED = [
    ("--kd-weight", "0"), ("--kd-weight", "0.5"), ("--kd-weight", "auto"), ("--kd-weight", "0", "--infobatch", "0.5"),
    *(("--kd-weight", "0", "--sparsity", "0.5", "--criterion", name) for name in ("snip", "grasp", "synflow", "prospr")),
    *(("--kd-weight", "0", "--self-distill", name) for name in ("cs-kd", "ps-kd", "dlb", "tf-kd", "tf-kd-self")),
]  # fmt: skip


def write_data(folder: Path, case: str) -> None:
    """Write an `.npz` with labels of `LABELS`."""
    rng, arrays = np.random.default_rng(0), {}
    for role, labels in zip(("train", "test"), map(np.array, LABELS[case]), strict=True):
        noise = rng.integers(0, 100, (len(labels), 8, 8, 1))
        arrays[f"{role}_images"] = (noise + 40 * (labels % 4)[:, None, None, None]).clip(0, 255).astype(np.uint8)
        arrays[f"{role}_labels"] = labels
    np.savez(folder / "data.npz", **arrays)


def find_nan(folder: Path) -> list[str]:
    """Return the files that hold a NaN."""
    found = []
    for path in folder.rglob("*"):
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                values = [arrays[name] for name in arrays.files]
        else:
            values = [np.load(path)] if path.suffix == ".npy" else []
        has_nan = any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in values)
        if path.suffix in (".json", ".jsonl", ".csv", ".toml", ".md", ".txt"):
            has_nan = re.search(r"\b(NaN|nan)\b", path.read_text()) is not None
        found += [str(path)] if has_nan else []
    return found


class Commands:
    """Runs commands; each ends with exit code 0, or with 2 and one clear line."""

    def __init__(self, dprune: Dprune, folder: Path) -> None:
        self._dprune, self._folder = dprune, folder

    def __call__(self, *words: object) -> bool:
        """Return whether the command succeeded."""
        command = self._dprune(*words)
        lines = command.err.splitlines()
        assert command.code in (0, 2), (words, command.err[-500:])
        if command.code == 2:
            assert lines[-1].startswith("dprune: "), (words, lines[-1])
            assert sum(line.startswith("dprune: ") for line in lines) == 1, (words, lines)
        assert "Traceback" not in command.err
        assert not find_nan(self._folder), words
        return command.code == 0


@pytest.mark.parametrize(
    ("case", "refusal"),
    [
        ("2 samples", "2 samples are too few for an ensemble: member 0 would be trained on 1 of them"),
        ("5 classes of 1", r"5 samples are too few for an ensemble: member \d would be trained on 5 of them"),
        ("1 class", "data has a single class: there is none to compare it with"),
    ],
)
def test_ensembles_of_too_few_samples_or_classes_are_refused(
    dprune: Dprune, tmp_path: Path, case: str, refusal: str
) -> None:
    write_data(tmp_path, case)
    for words in (("score", "--scorer", "memorization"), ("influence",)):
        command = dprune(*words, *OPTIONS)
        assert command.code == 2
        assert re.search(refusal, command.err.splitlines()[-1])
        assert not list(tmp_path.rglob("members")), "nothing was trained"


def test_the_smallest_data_are_scored_selected_and_trained_on(dprune: Dprune, tmp_path: Path) -> None:
    write_data(tmp_path, "3 samples")
    run = Commands(dprune, tmp_path)
    assert run("score", "--scorer", "el2n,grand,herding,random", *OPTIONS, "--out", "scores")
    scores = dp.load_scores(tmp_path / "scores" / "el2n.npz")
    assert np.isfinite(scores.values).all()
    for strategy in find_strategies():
        run("select", "--scores", "scores/el2n.npz", "--strategy", strategy, "--fraction", "1", "--out", f"{strategy}.npz")
    assert run("train", "--fraction", "1", "--kd-weight", "0.5", *OPTIONS)


def test_one_sample_is_one_line(expect_refusal: Callable[..., str], tmp_path: Path) -> None:
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    arrays = {f"{role}_images": image for role in ("train", "test")}
    np.savez(tmp_path / "data.npz", **arrays, train_labels=np.zeros(1, int), test_labels=np.zeros(1, int))
    for words in (("teach",), ("score", "--scorer", "el2n"), ("train", "--fraction", "1")):
        assert "data has 1 readable training samples; 2 or more are needed" in expect_refusal(*words, *OPTIONS)


def test_a_training_takes_two_samples(make_context: Callable[..., Any], small_dataset: dp.Dataset) -> None:
    with pytest.raises(InvalidValue, match="1 samples to train on; it takes 2 or more"):
        train_member(make_context(small_dataset), np.array([3]), 0)


def test_classes_that_a_subset_loses_are_said(dprune: Dprune, tmp_path: Path) -> None:
    write_data(tmp_path, "9 to 1")
    assert dprune("score", "--scorer", "random", "--data", "data.npz", "--out", "r.npz").code == 0
    order = np.argsort(dp.load_scores(tmp_path / "r.npz").values)
    (tmp_path / "ids.txt").write_text("".join(f"{i}\n" for i in range(9)))
    command = dprune("train", "--subset", "ids.txt", "--kd-weight", "0", *OPTIONS)
    assert command.code == 0, command.err
    assert command.err.count("subset: 1 of 2 classes (1) have no sample in it") == 1
    rank = int(np.flatnonzero(order[::-1] == 9)[0])
    fraction = str(rank / 10) if rank else "1"
    select = ("select", "--scores", "r.npz", "--out", "s.npz", "--fraction", fraction)
    assert ("1 of 2 classes (1) have no sample in it" in dprune(*select).err) == (rank > 0)
    write_data(tmp_path, "no test sample of a class")
    command = dprune("score", "--scorer", "random", "--data", "data.npz", "--out", "t.npz")
    assert "data: 1 of 3 classes (2) have no test sample" in command.err


def test_a_subset_of_one_class_is_one_line_or_a_result(dprune: Dprune, tmp_path: Path) -> None:
    write_data(tmp_path, "1 class")
    run = Commands(dprune, tmp_path)
    assert run("train", "--fraction", "0.5", "--kd-weight", "0", *OPTIONS)
    with pytest.raises(InvalidFile, match="no training sample"):
        np.savez(tmp_path / "two.npz", **{**np.load(tmp_path / "data.npz"), "class_names": np.array(["a", "b"])})
        dp.open_dataset(str(tmp_path / "two.npz"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", ["3 samples", "1,000 to 1"])
def test_every_command_gives_a_result_or_one_line(dprune: Dprune, tmp_path: Path, case: str) -> None:
    write_data(tmp_path, case)
    run = Commands(dprune, tmp_path)
    run("score", "--scorer", "all", *OPTIONS, "--out", "scores")
    scorer = "random" if case == "1 class" else "forgetting"  # a single class has nothing to compare with
    assert run("score", "--scorer", scorer, *OPTIONS, "--out", "f.npz")
    for strategy in find_strategies():
        for fraction in FRACTIONS:
            out = f"{strategy}-{fraction}.npz"
            run("select", "--scores", "f.npz", "--strategy", strategy, "--fraction", fraction, "--out", out)
    run("select", "--scores", "f.npz", "--fraction", "0.5", "--balance", "class", "--data", "data.npz")
    assert run("teach", *OPTIONS, "--out", "teacher")
    for number, words in enumerate(TRAINED):
        run("train", "--fraction", ("0.5", "1")[number % 2], *words, *OPTIONS)
    for verb in ("label-issues", "duplicates", "influence", "advise"):
        run(verb, *OPTIONS)
    run("sweep", "--fractions", "0.5,1", "--kd-weights", "0", "--seeds", "2", *OPTIONS)
    for words in (("evaluate", "teacher"), ("inspect", "teacher"), ("inspect", "f.npz"), ("report",)):
        assert run(*words) or case == "2 samples"
    for name in ("f.npz", "top-1.npz"):
        assert run("export", name, "--out", f"{name}.csv")
    run("diff", "top-0.5.npz", "window-0.5.npz", "--out", "d.html")
