"""The command line: common commands, their stdout, reuse of results, and interruption."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

import datapruning as dp
from datapruning.artifacts.scores import load_scores
from datapruning.artifacts.subset import load_subset
from datapruning.cli.main import app
from datapruning.data.dataset import Dataset
from tests.conftest import CommandResult, fast_options
from tests.helpers.processes import default_sigint_handler

Dprune = Callable[..., CommandResult]
FAST = fast_options()
COMMAND = Path(sys.executable).parent / "dprune"
VERBS = [
    "demo", "score", "select", "label-issues", "duplicates", "influence", "teach", "train", "predict", "evaluate", "advise",
    "sweep", "report", "cache", "export", "inspect", "diff", "recipes", "check",
]  # fmt: skip


def path_in(line: str) -> Path:
    """Return the path at the end of an output line."""
    return Path(line.rstrip().rpartition(": ")[2])


def done(answer: CommandResult) -> Path:
    """Return the path that a successful command printed."""
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    return path_in(line)


def result_of(run: Path) -> dict[str, Any]:
    """Read the result.json of a finished run."""
    return dict(json.loads((run / "result.json").read_text()))


def test_the_commands_are_those_of_the_documentation() -> None:
    assert list(typer.main.get_command(app).commands) == VERBS  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_command_has_a_valid_example(dprune: Dprune, verb: str) -> None:
    answer = dprune(verb, "--help")
    assert (answer.code, answer.err) == (0, "")
    (example,) = re.findall(r"^\s*Example: (dprune .*)$", answer.out, re.MULTILINE)
    arguments = shlex.split(example)
    assert arguments[1] == verb
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    command.make_context(verb, arguments[2:])  # raises where the example does not parse


def test_without_a_command_the_help_is_shown(dprune: Dprune) -> None:
    bare = dprune()
    assert bare == dprune("--help")
    assert (bare.code, bare.err) == (0, "")
    assert all(re.search(rf"^  {verb} ", bare.out, re.MULTILINE) for verb in VERBS)


def test_the_version_is_the_package_s(dprune: Dprune) -> None:
    assert dprune("--version") == CommandResult(0, f"datapruning {dp.__version__}\n", "")


def test_the_installed_command_returns_its_exit_code(tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert call("--version").stdout == f"datapruning {dp.__version__}\n"
    wrong = call("recipes", "show", "digit")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("dprune: ")
    assert wrong.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; from datapruning.cli.main import run; code = run(sys.argv[1:]);"
        "heavy = {'torch', 'torchvision', 'ffcv', 'numba', 'sklearn', 'faiss'} & set(sys.modules);"
        "sys.exit(code or ' '.join(heavy) or 0)"
    )
    for words in ([], ["--help"], ["train", "--help"], ["--version"]):
        subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, timeout=60)


def test_scores_of_several_scorers_share_their_evidence(dprune: Dprune) -> None:
    first = dprune("score", "--scorer", "el2n, forgetting", *FAST)
    assert first.code == 0
    assert [line.partition(":")[0] for line in first.out.splitlines()] == ["el2n", "forgetting"]
    assert first.err.count("epochs over 1,438 samples") == 2, "two proxies, once"
    for line in first.out.splitlines():
        with np.load(path_in(line)) as file:
            assert file["score"].dtype == np.float32
            assert file["score"].shape == (1438,)
    repeated = dprune("score", "--scorer", "el2n,forgetting", *FAST)
    assert repeated.out == first.out
    assert repeated.err.count("evidence: using") == 1, "said once"
    assert repeated.err.count("with the same content") == 2


def test_out_is_a_file_if_it_ends_in_npz_else_a_folder(dprune: Dprune, tmp_path: Path) -> None:
    arguments = ["score", "--scorer", "random", "--loader", "memory", "--out"]
    assert done(dprune(*arguments, "deep/custom.npz")) == Path("deep/custom.npz")
    assert done(dprune(*arguments, "folder")) == Path("folder/random.npz")
    assert (tmp_path / "deep/custom.npz").is_file()
    assert (tmp_path / "folder/random.npz").is_file()
    assert not (tmp_path / "dprune-runs").exists()


def test_list_shows_source_cost_and_sign_of_every_scorer(dprune: Dprune) -> None:
    command = dprune("score", "--list")
    assert (command.code, command.err) == (0, "")
    names = [line for line in command.out.splitlines() if not line.startswith(" ")]
    assert {"el2n", "el2n-online", "forgetting", "random"} <= set(names)
    for word in ("cost", "sign", "source"):
        assert len(re.findall(rf"^  {word} +\S", command.out, re.MULTILINE)) == len(names)


def test_select_keeps_the_highest_scores(dprune: Dprune) -> None:
    scores = done(dprune("score", "--scorer", "random", "--loader", "memory", "--out", "s.npz"))
    command = dprune("select", "--scores", scores, "--fraction", "0.3")
    assert command.out.startswith("keeping 431 of 1,438 (scorer random, balance none): ")
    with np.load(done(command)) as file:
        kept = file["indices"]
    values = load_scores(scores).values
    assert kept.tolist() == sorted(np.argsort(-values)[:431].tolist())
    repeated = dprune("select", "--scores", scores, "--fraction", "0.3")
    assert repeated.out == command.out
    assert "with the same content" in repeated.err


def test_select_can_balance_classes(dprune: Dprune, digits: Dataset) -> None:
    scores = done(dprune("score", "--scorer", "random", "--loader", "memory", "--out", "s.npz"))
    kept = load_subset(done(dprune("select", "--scores", scores, "--fraction", "0.1", "--balance", "class"))).indices
    counts = np.bincount(digits.train.labels[kept], minlength=10)
    assert counts.tolist() == [(2 * n + 10) // 20 for n in np.bincount(digits.train.labels)]


@pytest.mark.parametrize("name", ["ids.txt", "ids.npy"])
def test_select_takes_plain_ids(dprune: Dprune, tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "ids.npy", np.array([5, 3, 1437]))
    (tmp_path / "ids.txt").write_text("5\n\n3\n1437\n")
    assert load_subset(done(dprune("select", "--ids", name, "--data", "digits", "--out", "s.npz"))).indices.tolist() == [
        3,
        5,
        1437,
    ]


def test_one_fraction_after_another_in_an_empty_folder(dprune: Dprune) -> None:
    assert dprune("score", *FAST).code == 0
    first = dprune("train", "--fraction", "0.5", "--kd-weight", "auto", *FAST)
    run = done(first)
    result = result_of(run)
    assert (result["kept"], result["total"], result["scorer"]) == (719, 1438, "random")
    weights = [probe["weight"] for probe in result["kd_weight_search"]["probes"]]
    assert weights[:2] == [result["kd_weight_search"]["proposed"]["weight"], 0.0]
    assert first.out.startswith(f"test accuracy {result['test_accuracy']:.2f}%, keeping 719 of 1,438, KD weight ")
    assert "(found by a search that cost" in first.out

    second = dprune("train", "--subset", run / "subset.npz", "--kd-weight", "0.9", *FAST)
    other = result_of(done(second))
    assert (other["kept"], other["kd_weight"], other.get("kd_weight_search")) == (719, 0.9, None)
    assert "teacher: using" in second.err
    third = dprune("train", "--subset", run / "subset.npz", "--kd-weight", "0.8", *FAST)
    assert "soft labels: used" in third.err

    repeated = dprune("train", "--fraction", "0.5", "--kd-weight", "auto", *FAST)
    assert repeated.out == first.out
    assert "is finished already" in repeated.err


def test_train_takes_scores_and_a_scorer(dprune: Dprune) -> None:
    plain = ["--fraction", "0.2", "--kd-weight", "0", *FAST]
    by_name = done(dprune("train", "--scorer", "el2n", *plain))
    scores = done(dprune("score", *FAST))
    by_file = done(dprune("train", "--scores", scores, "--out", "run", *plain))
    assert result_of(by_file)["test_accuracy"] == result_of(by_name)["test_accuracy"]
    assert result_of(by_file)["scorer"] == "el2n"
    balanced = done(dprune("train", "--scores", scores, "--balance", "class", *plain))
    assert result_of(balanced)["balance"] == "class"


def test_several_teachers_are_averaged(dprune: Dprune) -> None:
    teachers = [done(dprune("teach", "--seed", seed, "--out", f"teacher-{seed}", *FAST)) for seed in (0, 1)]
    names = [word for teacher in teachers for word in ("--teacher", teacher)]
    run = done(dprune("train", "--fraction", "0.2", "--kd-weight", "1", *names, *FAST))
    records = result_of(run)["teacher"]
    assert [Path(t["folder"]) for t in records] == teachers
    assert records[0]["weights"] != records[1]["weights"]
    repeated = dprune("teach", "--seed", 0, "--out", "teacher-0", *FAST)
    assert done(repeated) == teachers[0]
    assert "teacher: using" in repeated.err


def test_the_budget_determines_the_cost(dprune: Dprune) -> None:
    arguments = ["train", "--fraction", "0.25", "--kd-weight", "0", *FAST]
    epochs = result_of(done(dprune(*arguments)))
    steps = result_of(done(dprune(*arguments, "--budget", "steps", "--model", "resnet20")))
    full = result_of(done(dprune("train", "--fraction", "1", "--kd-weight", "0", *FAST)))
    assert (epochs["budget"], steps["budget"]) == ("epochs", "steps")
    assert epochs["samples_seen"] == 2 * 360
    assert steps["steps"] == full["steps"] > epochs["steps"]
    assert steps["model"] == "resnet20"


def test_deterministic_holds_for_the_teacher_too(dprune: Dprune) -> None:
    folder = done(dprune("train", "--fraction", "0.25", "--kd-weight", "0.5", "--deterministic", *FAST))
    config = tomllib.loads((folder / "config.toml").read_text())
    assert config["train"]["deterministic"] is True
    assert config["teacher"]["deterministic"] is True


@pytest.mark.skipif(importlib.util.find_spec("ffcv") is None, reason="ffcv is not installed (it is Linux only)")
def test_cache_writes_both_splits_or_a_subset(dprune: Dprune, tmp_path: Path) -> None:
    command = dprune("cache", "--out", "cache")
    assert command.code == 0, command.err
    assert [line.rpartition("/")[2].partition(" ")[0] for line in command.out.splitlines()] == ["train.beton", "test.beton"]
    (tmp_path / "ids.txt").write_text("1\n2\n")
    subset = done(dprune("select", "--ids", "ids.txt", "--data", "digits"))
    assert dprune("cache", "--subset", subset, "--out", "two.beton").code == 0
    assert (tmp_path / "two.beton").is_file()
    assert dprune("cache", "--subset", subset, "--out", "two.beton").code == 2, "never over a file that is there"


def test_inspect_describes_every_kind_of_file(dprune: Dprune, tmp_path: Path, small_dataset: Dataset) -> None:
    def lines(path: object) -> str:
        command = dprune("inspect", path)
        assert (command.code, command.err) == (0, "")
        return command.out

    scores = done(dprune("score", *FAST))
    subset = done(dprune("select", "--scores", scores, "--fraction", "0.3"))
    run = done(dprune("train", "--subset", subset, "--kd-weight", "0.5", *FAST))
    assert "a scores file, intact" in lines(scores)
    assert "scorer el2n" in lines(scores)
    assert "keeping 431 of 1,438" in lines(subset)
    assert "made from digits" in lines(subset)
    description = lines(run)
    assert "a finished run, intact" in description
    assert f"test_accuracy: {result_of(run)['test_accuracy']}" in description
    assert "teacher: dprune-runs/teachers/" in description
    (run / "result.json").unlink()
    assert "not finished" in lines(run)
    arrays = {
        f"{role}_{name}": getattr(small_dataset.split(role), name)
        for role in ("train", "test")
        for name in ("images", "labels")
    }
    np.savez(tmp_path / "data.npz", **arrays)
    description = lines("data.npz")
    assert "120 training and 60 test images of 8x8x3" in description
    assert "4 classes" in description


def test_recipes_are_listed_shown_and_copied(dprune: Dprune, tmp_path: Path) -> None:
    names = [line.partition(":")[0] for line in dprune("recipes").out.splitlines()]
    assert {"digits", "cifar10", "default", "fashion-mnist"} <= set(names)
    assert dprune("recipes", "list") == dprune("recipes")
    shown = dprune("recipes", "show", "digits").out
    assert dprune("recipes", "copy", "digits") == CommandResult(0, "digits.toml\n", "")
    assert (tmp_path / "digits.toml").read_text() == shown
    assert dprune("recipes", "copy", "digits", "deep/custom.toml").out == "deep/custom.toml\n"
    command = dprune("teach", "--recipe", "deep/custom.toml", *FAST)
    assert command.code == 0, command.err


@pytest.mark.slow
def test_an_interrupted_run_is_one_line_and_resumes(tmp_path: Path) -> None:
    arguments = [COMMAND, "train", "--fraction", "0.1", "--kd-weight", "0", "--out", "run", "--threads", "1", *FAST]
    arguments += ["--set", "train.epochs=100"]
    with default_sigint_handler():
        process = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "dprune: interrupted; the same command resumes"
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "run" / "result.json").exists()
    num_lines = len(metrics.read_text().splitlines())
    assert 0 < num_lines < 100
    repeated = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert repeated.returncode == 0, repeated.stderr
    assert len(metrics.read_text().splitlines()) == result_of(tmp_path / "run")["epochs"] == 100
