"""Standard streams that are closed, read by nobody, full, or in any encoding: work and exit code stay the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import datapruning as dp
from datapruning.cli.main import run
from datapruning.errors import InvalidFile
from datapruning.io.npy import read_npz_arrays
from tests.helpers.image_files import make_image_folder

NAMES = "日本 العربية हिन्दी 🦊 Ünï"
SCORE = ("score", "--scorer", "random", "--out", "scores")


def run_shell(folder: Path, redirection: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `dprune` with a redirection of its streams, as a shell does it."""
    command = f'"{sys.executable}" -m datapruning {" ".join(arguments)} {redirection}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=folder, capture_output=True, encoding="utf-8", errors="replace",
        env={**os.environ, **variables}, timeout=300, check=False,
    )  # fmt: skip


REDIRECTIONS = ("<&- >&- 2>&-", "2>&1 | true", "<&-", ">&-", "2>&-", "> /dev/null 2>&1", "2> /dev/full")


@pytest.mark.parametrize(
    "redirection", [*REDIRECTIONS[:2], *(pytest.param(case, marks=pytest.mark.slow) for case in REDIRECTIONS[2:])]
)
def test_closed_and_broken_streams_change_no_exit_code(tmp_path: Path, redirection: str) -> None:
    folder = make_image_folder(tmp_path / "pets", 3, 2)
    completed = run_shell(tmp_path, redirection, *SCORE, "--data", str(folder), "--image-size", "8")
    assert completed.returncode == 0, completed
    assert "Traceback" not in completed.stderr
    assert set(read_npz_arrays(tmp_path / "scores" / "random.npz", ("score",))) == {"score"}
    written = [path for path in tmp_path.rglob("*") if path.is_file() and b"random: " in path.read_bytes()]
    assert not written, "a message went to a file that took the number of a closed stream"


def test_a_refusal_keeps_its_exit_code_without_streams(tmp_path: Path) -> None:
    for redirection in ("<&- >&- 2>&-", "2>&1 | true"):
        assert run_shell(tmp_path, redirection, "score", "--data", "nowhere.npz").returncode == 2


def test_results_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    completed = run_shell(tmp_path, "> /dev/full", "recipes", "show", "digits")
    assert (completed.returncode, completed.stderr) == (2, "dprune: standard output: the disk is full\n")


def test_an_output_that_does_not_block_loses_nothing(tmp_path: Path) -> None:
    """Another program may have set the pipe so; it is read late and in small parts."""
    code = (
        "import os, sys; os.set_blocking(1, False)\n"
        "from datapruning.utils.streams import prepare_standard_streams\n"
        "prepare_standard_streams()\n"
        "for number in range(40000): print(number)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        parts = list(iter(lambda: os.read(process.stdout.fileno(), 2000), b""))  # type: ignore[union-attr]
    assert process.returncode == 0
    assert b"".join(parts).split() == [str(number).encode() for number in range(40000)]


def test_an_ascii_output_escapes_names(tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "データ", 3, 2)
    arguments = ("score", "--scorer", "random", "--data", str(folder), "--image-size", "8", "--out", "日本")
    completed = run_shell(tmp_path, "", *arguments, PYTHONIOENCODING="ascii")
    assert (completed.returncode, completed.stdout) == (0, "random: \\u65e5\\u672c/random.npz\n")
    assert (tmp_path / "日本" / "random.npz").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "cp437:strict"}, {"LC_ALL": "C"}])
def test_any_encoding_prints_any_name(tmp_path: Path, variables: dict[str, str]) -> None:
    """What the encoding lacks is escaped; files are UTF-8 whatever the terminal is."""
    folder = make_image_folder(tmp_path / "データ", 4, 2)
    for split in ("train", "test"):
        (folder / split / "cats").rename(folder / split / NAMES)
    arguments = ("label-issues", "--data", str(folder), "--image-size", "8", "--count", "8", "--out", "list.csv")
    arguments += ("--set", "proxy.epochs=1", "--set", "evidence.runs=1", "--set", "evidence.early_epoch=1")
    completed = run_shell(tmp_path, "", *arguments, **variables)
    assert completed.returncode == 0, completed.stderr
    assert "Traceback" not in completed.stderr
    label = NAMES.encode(variables.get("PYTHONIOENCODING", "utf-8").partition(":")[0], "backslashreplace")
    assert label.decode("utf-8", "replace") in completed.stdout
    assert NAMES in (tmp_path / "list.csv").read_text(encoding="utf-8")


def test_a_locale_without_the_letters_of_a_name_is_named(tmp_path: Path) -> None:
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    completed = run_shell(tmp_path, "", "score", "--data", "日本.npz", **variables)
    assert completed.returncode == 2
    assert completed.stderr.startswith("dprune: the argument '")
    assert completed.stderr.endswith("' is not UTF-8; set PYTHONUTF8=1, because this locale has no such letters\n")


def test_a_present_folder_that_was_deleted_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"cd gone; rmdir ../gone; '{sys.executable}' -m datapruning score --data digits --scorer random"
    completed = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert completed.returncode == 2
    assert completed.stderr == "dprune: the present folder is not there any more; change to another (cd)\n"


def test_a_file_where_a_folder_is_needed_is_said(expect_refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = expect_refusal("score", "--data", "digits", "--scorer", "random", "--out", "file/scores.npz")
    assert "file: File exists, a file where a folder is needed" in message


def test_names_that_are_not_utf_8_are_refused(
    expect_refusal: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    make_image_folder(tmp_path / odd)
    assert "the argument 'caf\\udce9' is not UTF-8; rename it" in expect_refusal("score", "--data", odd)
    with pytest.raises(InvalidFile, match=r"the path of the dataset .* is not UTF-8; rename it"):
        dp.open_dataset(tmp_path / odd)
    monkeypatch.chdir(tmp_path / odd)
    assert run(["score", "--data", "digits"]) == 2
    with pytest.raises(InvalidFile, match="the path of the dataset"):
        dp.open_dataset("train", holdout=0.5)
