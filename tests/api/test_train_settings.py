"""Settings of a training as arguments and options: what they set, and what is refused."""

from pathlib import Path

import pytest

import datapruning as dp
from datapruning.api.train_settings import student_settings
from datapruning.cli.main import run
from datapruning.config.recipe import read_recipe
from datapruning.errors import UserError

TWICE = ", and the changes of the recipe set"
TINY = ("--set", "train.model=tinynet8", "--set", "teacher.model=tinynet8")


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("teach --epochs 2 --set teacher.epochs=3", f"epochs is 2{TWICE} teacher.epochs: leave one out (--epochs)"),
        ("train --fraction 1 --epochs 2 --set train.epochs=3", f"epochs is 2{TWICE} train.epochs: leave one out (--epochs)"),
        (
            "sweep --batch-size 8 --set train.batch_size=8",
            f"batch_size is 8{TWICE} train.batch_size: leave one out (--batch-size)",
        ),
        ("advise --lr 0.1 --set train.lr=0.2", f"lr is 0.1{TWICE} train.lr: leave one out (--lr)"),
        (
            "train --fraction 0.1 --epochs 2 --samples 4000",
            "a student sees 4,000 samples or trains for 2 epochs: leave one out (--epochs)",
        ),
        ("teach --lr -1", "teacher.lr lies in 0..1e+06; got -1.0"),
    ],
)  # fmt: skip
def test_a_setting_that_is_given_twice_or_cannot_be_is_one_line(
    verb: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(verb.split()) == 2
    assert capsys.readouterr().err == f"dprune: {line}\n"
    assert not list(tmp_path.iterdir())


def test_options_set_the_network_that_the_command_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["teach", *TINY, *["--epochs", "2", "--batch-size", "64", "--lr", "0.05", "--out", "teacher"]]) == 0
    student = "train --fraction 0.1 --kd-weight 0.5 --teacher teacher --epochs 3 --batch-size 16 --lr 0.03 --out student"
    assert run([*student.split(), *TINY]) == 0
    teacher, recipe = (read_recipe(Path(folder) / "config.toml")[0] for folder in ("teacher", "student"))
    assert (teacher.teacher.epochs, teacher.teacher.batch_size, teacher.teacher.lr) == (2, 64, 0.05)
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.lr) == (3, 16, 0.03)
    assert recipe.teacher.epochs == read_recipe(Path(dp.__file__).parent / "recipes" / "digits.toml")[0].teacher.epochs


def test_a_number_of_samples_is_a_budget() -> None:
    given = student_settings((), budget=None, samples="5000", epochs=None, lr=None)
    assert given == {"budget": "samples", "samples": 5000}
    assert student_settings((), budget=None, samples="full", epochs=4) == {
        "budget": "samples",
        "samples": "full",
        "epochs": 4,
    }
    with pytest.raises(UserError, match="is the budget 'samples', not 'epochs'"):
        student_settings((), budget="epochs", samples=5, epochs=None)
