"""What a command does not import: a mistake, and a finished run that is asked for again, are answered without torch.

`python -m benchmarks.start_up` measures the seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import fast_options

HEAVY = ("torch", "torchvision", "sklearn", "scipy", "numba", "matplotlib", "faiss", "pandas", "onnx", "ffcv")
MISTAKES = {
    "train --fraction 1.5": "0 < fraction <= 1; got 1.5",
    "train --fraction 0.5 --data cifra10": "unknown dataset 'cifra10': did you mean 'cifar10'?",
    "train --fraction 0.5 --scorer el3n": "unknown scorer 'el3n': did you mean 'el2n'?",
    "train --fraction 0.5 --strategy ccc": "unknown strategy 'ccc'",
    "train --fraction 0.5 --kd-weight 2": "the KD weight lies in 0..1",
    "train --fraction 0.5 --model resnet19": "unknown model 'resnet19'",
    "train --fraction 0.5 --device gpu": "device 'gpu' is not one of",
    "train --fraction 0.5 --loader fcv": "unknown loader 'fcv'",
    "train --fraction 0.5 --set train.lr=abc": "train.lr is a number",
    "train --fraction 0.5 --recipe nosuch.toml": "nosuch.toml is not there",
    "train --fraction 0.5 --self-distill csk": "unknown method 'csk'",
    "train --fraction 0.5 --teacher nosuch": "teacher nosuch is not there",
    "train --fraction 0.5 --threads 0": "at least 1 thread",
    "train --subset nosuch.npz": "nosuch.npz is not there",
    "train --scores nosuch.npz --fraction 0.5": "nosuch.npz is not there",
    "score --scorer el3n": "unknown scorer 'el3n'",
    "score --data cifra10": "unknown dataset 'cifra10'",
    "score --recording nosuch": "nosuch is not a recording",
    "select --scores nosuch.npz --fraction 0.5": "nosuch.npz is not there",
    "teach --model resnet19": "unknown model 'resnet19'",
    "predict nosuch photo.png": "nosuch is not there",
    "evaluate nosuch": "nosuch is not there",
    "advise --tolerance -1": "the tolerance is how many points",
    "advise --data cifra10": "unknown dataset 'cifra10'",
    "sweep --fractions 0.1,x": "got x",
    "sweep --fractions 0.1 --scorers el3n": "unknown scorer 'el3n'",
    "report nosuch": "nosuch is not there",
    "demo --seeds 0": "at least 1 seed",
    "cache --data cifra10": "unknown dataset 'cifra10'",
    "export nosuch.npz --out scores.csv": "nosuch.npz does not exist",
    "inspect nosuch.npz": "nosuch.npz is not there",
    "diff nosuch.npz other.npz": "nosuch.npz is not there",
    "label-issues --data cifra10": "unknown dataset 'cifra10'",
    "influence --data cifra10": "unknown dataset 'cifra10'",
    "check nosuch.toml": "nosuch.toml is not there",
}
"""A command, and what its answer holds."""
PROGRAM = """
import contextlib, io, json, sys
from datapruning.cli.main import run
answers = []
for command in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command)
    loaded = [name for name in HEAVY if name in sys.modules]
    answers.append((code, out.getvalue(), err.getvalue(), loaded))
print(json.dumps(answers))
"""


def answers(commands: Sequence[Sequence[str]], folder: Path) -> list[tuple[int, str, str, list[str]]]:
    """Run commands in one new process: (exit code, stdout, stderr, heavy packages that are imported by then) of each."""
    code = PROGRAM.replace("HEAVY", repr(HEAVY))
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, input=json.dumps(commands), capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return [tuple(answer) for answer in json.loads(process.stdout)]


def test_mistakes_are_found_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    given = answers([command.split() for command in MISTAKES], tmp_path)
    for (command, words), (code, out, err, loaded) in zip(MISTAKES.items(), given, strict=True):
        assert (code, out) == (2, ""), (command, code, err)
        assert words in err, (command, err)
        assert len(err.splitlines()) == 1, err
        assert loaded == [], command
    assert list(tmp_path.iterdir()) == []


def test_finished_runs_are_found_again_without_torch(tmp_path: Path) -> None:
    train = ["train", "--fraction", "0.1", *fast_options()]
    commands = [["teach", *fast_options()], [*train, "--kd-weight", "0"], [*train, "--kd-weight", "auto"]]
    first = answers(commands, tmp_path)
    assert [code for code, *_ in first] == [0, 0, 0], first
    assert "torch" in first[0][3]
    again = answers(commands, tmp_path)
    assert [(code, out) for code, out, *_ in again] == [(code, out) for code, out, *_ in first]
    for _, _, err, loaded in again:
        assert "finished already" in err or "teacher: using" in err
        assert loaded == []


def test_one_epoch_of_labels_alone_imports_no_more_than_it_uses(tmp_path: Path) -> None:
    train = ["train", "--fraction", "0.1", "--kd-weight", "0", *fast_options()]
    ((code, _, err, loaded),) = answers([train], tmp_path)
    assert code == 0, err
    assert set(loaded) <= {"torch"}, "the digits are read without scikit-learn, their views made without numba"
