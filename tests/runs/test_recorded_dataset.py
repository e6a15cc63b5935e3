"""Files remember their dataset and its options: a command that reads them needs no --data, and refuses another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.errors import IncompatibleInputs, InvalidValue
from datapruning.runs.recorded_dataset import dataset_for, recorded_spec
from tests.conftest import CommandResult
from tests.helpers.image_files import make_image_folder


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Make a folder of images, and scores of them at 8 pixels a side."""
    root = make_image_folder(tmp_path / "pets")
    data = dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "w")
    dp.score(data, "random", out=tmp_path / "random.npz", workspace=tmp_path / "w")
    return root, tmp_path / "random.npz"


def test_the_dataset_of_a_file_is_taken_with_its_options(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, scores = files
    spec = f"{root}?image-size=8"
    assert recorded_spec(scores) == spec
    assert dataset_for(None, None, "digits", [scores]) == spec
    assert dataset_for(str(root), scores, "digits") == spec, "the option that is left open"
    monkeypatch.chdir(root.parent)
    assert dataset_for("pets", scores, "digits") == "pets?image-size=8"
    assert dataset_for(None, None, "digits") == "digits"
    assert dataset_for(f"{root.parent / 'moved'}?image-size=9", scores, "digits").endswith("image-size=9")


def test_another_option_or_another_dataset_is_refused_before_anything_is_decoded(files: tuple[Path, Path]) -> None:
    root, scores = files
    with pytest.raises(IncompatibleInputs, match="with image-size 8, not with 16"):
        dataset_for(f"{root}?image-size=16", scores, "digits")
    with pytest.raises(IncompatibleInputs, match=r"without holdout, not with 0\.2"):
        dataset_for(f"{root}?holdout=0.2", scores, "digits")
    with pytest.raises(IncompatibleInputs, match="without image-format, not with jpg:90"):
        dataset_for(f"{root}?image-format=jpg", scores, "digits")
    assert dataset_for(f"{root}?image-format=raw", scores, "digits").startswith(f"{root}?image-size=8")
    digits = dp.score("digits", "random", out=root.parent / "digits.npz", workspace=root.parent / "w")
    assert digits.meta.spec == "digits"
    with pytest.raises(IncompatibleInputs, match="was made from digits, not from cifar10"):
        dataset_for("cifar10", root.parent / "digits.npz", "digits")


def test_a_list_does_not_stand_for_the_digits(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n2\n")
    with pytest.raises(InvalidValue, match=r"ids.txt does not say which dataset its samples are of: name it"):
        dataset_for(None, tmp_path / "ids.txt", "digits")
    assert dataset_for("digits", tmp_path / "ids.txt", "digits") == "digits"


def test_broken_files_say_nothing_here(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"broken")
    np.savez(tmp_path / "b.npz", meta=np.arange(3))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("[run\n")
    for name in ("a.npz", "b.npz", "run", "run@4", "absent", "weights.pth"):
        assert recorded_spec(tmp_path / name) is None


def test_commands_need_no_data_where_a_file_has_it(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], files: tuple[Path, Path], tmp_path: Path
) -> None:
    root, scores = files
    assert dprune("select", "--scores", scores, "--fraction", "0.5", "--balance", "class", "--out", "half.npz").code == 0
    fast = ("--set", "train.epochs=1", "--set", "train.model=tinynet8", "--kd-weight", "0", "--workspace", "w")
    command = dprune("train", "--subset", "half.npz", *fast)
    assert command.code == 0, command.err
    assert "keeping 12 of 24" in command.out
    decoded = sorted((tmp_path / "w" / "cache").iterdir())
    refusal = expect_refusal("train", "--subset", "half.npz", "--data", root, "--image-size", "16", *fast)
    assert "with image-size 8, not with 16" in refusal
    assert refusal.endswith("(--image-size)")
    assert sorted((tmp_path / "w" / "cache").iterdir()) == decoded, "nothing was decoded"
    (tmp_path / "ids.txt").write_text("1\n2\n")
    assert expect_refusal("select", "--ids", "ids.txt").endswith("name it (--data)")
    assert expect_refusal("train", "--subset", "ids.txt").endswith("name it (--data)")
