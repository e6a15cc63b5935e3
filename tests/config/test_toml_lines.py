"""The line number of a mistake in TOML: right for every notation, or not given."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from datapruning.config.recipe import read_recipe
from datapruning.config.toml import find_line
from datapruning.errors import UserError

TEXT = """# about
name = "custom"
threads = 2
[train]
epochs = 3  # [kd]
"lr" = 0.1
grid = [
  "a = 1",
]
[ teacher ]
  epochs=4

[deep.er]
epochs = 5
"""


@pytest.mark.parametrize(
    ("table", "key", "line"),
    [
        ("threads", None, 3), ("train", None, 4), ("train", "epochs", 5), ("train", "lr", 6), ("train", "grid", 7),
        ("teacher", None, 10), ("teacher", "epochs", 11), ("deep", "er", 13), ("kd", None, None),
        ("train", "model", None), ("epochs", None, None), ("proxy", "epochs", None),
    ],
)  # fmt: skip
def test_tables_and_keys_are_found(table: str, key: str | None, line: int | None) -> None:
    tomllib.loads(TEXT)
    assert find_line(TEXT, table, key or "") == line


@pytest.mark.parametrize("text", ["\ntrain.epochs = 3", "\ntrain = {epochs = 3}", "[train]\nepochs = 3", "\n[[train]]"])
def test_every_way_to_write_a_key_is_found(text: str) -> None:
    assert find_line(text, "train", "epochs") == 2 or "[[train]]" in text
    assert find_line(text, "train") in (1, 2) or "train.epochs" in text


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[train]\nepochs = 3\nmodle = 'x'\n", 3, "did you mean 'model'"),
        ("[train]\nepochs = 3\n[teacher]\nepochs = 'x'\n", 4, "teacher.epochs is a whole number, got 'x'"),
        ("[train]\nlr = true\n", 2, "train.lr is a number, got True"),
        ("[views]\nnum_views = 0\n", 2, "views.num_views"),
        ("[train]\nepochs = 3\nbudget = 'foo'\n", 3, "known: epochs, samples, steps"),
        ("[kd]\nsearch_start = 0.5\n\ntemperature = -1\n", 4, "got -1"),
        ("[kd]\nsearch_start = 0.5\nsearch = 3\n", 3, "kd.search is a list"),
        ("[evidence]\nruns = 10\nfull_runs = 11\n", 3, "full_runs lies in 0..10"),
        ("[evidence]\nruns = 10\nfull_runs = 10\nearly_epoch = 0\n", 4, "early_epoch"),
        ("name = 'x'\n\n[tarin]\nepochs = 3\n", 3, "did you mean 'train'"),
        ("name = 'x'\nlr = 0.1\n", 2, "unknown table 'lr'"),
        ("name = 'x'\ntrain = 3\n", 2, "'train' is a table"),
        ("name = 'x'\nthreads = 'all'\n", 2, "threads is a whole number"),
        ("[train]\ninfobatch = 0.5\n[proxy]\ninfobatch = 0.3\n", 4, "infobatch is for students"),
    ],
)
def test_a_recipe_s_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error_info:
        read_recipe(path)
    assert str(error_info.value).startswith(f"{path}, line {line}: "), error_info.value
    assert message in str(error_info.value)


@pytest.mark.parametrize("change", ["train.lr=fast", "train.epochs=0", "evidence.full_runs=99", "train.modle=x"])
def test_errors_from_the_command_line_name_no_line(tmp_path: Path, change: str) -> None:
    path = tmp_path / "good.toml"
    path.write_text("[train]\nlr = 0.1\nepochs = 3\n[evidence]\nfull_runs = 1\n")
    with pytest.raises(UserError) as error_info:
        read_recipe(path, [change])
    assert ", line " not in str(error_info.value)
