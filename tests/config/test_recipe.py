"""Configuration: every key and type is checked, and written recipes round-trip."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.config.kd import check_kd_weight
from datapruning.config.recipe import Recipe, read_recipe
from datapruning.config.toml import to_toml
from datapruning.errors import InvalidFile, InvalidValue, UnknownName, UserError

TEXT = """
name = "custom"
[train]
epochs = 7
lr = 1
model = "resnet20"
[teacher]
epochs = 9
[kd]
search = ["views", "teacher"]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Write a small recipe."""
    (tmp_path / "custom.toml").write_text(TEXT)
    return tmp_path / "custom.toml"


def test_teacher_and_proxies_start_from_the_student_s_settings(recipe: Path) -> None:
    parsed, run = read_recipe(recipe)
    assert (parsed.name, run) == ("custom", {})
    assert (parsed.train.epochs, parsed.teacher.epochs, parsed.proxy.epochs) == (7, 9, 7)
    assert parsed.teacher.model == parsed.proxy.model == "resnet20"
    assert parsed.train.lr == 1.0
    assert type(parsed.train.lr) is float
    assert parsed.kd.search == ("views", "teacher")


@pytest.mark.parametrize(
    ("change", "table", "key", "value"),
    [
        ("train.lr=0.05", "train", "lr", 0.05),
        ("train.lr = 1e-3", "train", "lr", 0.001),
        ("train.model=convnet", "train", "model", "convnet"),
        ('train.model="convnet"', "train", "model", "convnet"),
        ("kd.search=['teacher']", "kd", "search", ("teacher",)),
        ("views.flip=false", "views", "flip", False),
        ("evidence.runs=1", "evidence", "runs", 1),
        ("teacher.epochs=3", "teacher", "epochs", 3),
    ],
)
def test_set_changes_one_value(recipe: Path, change: str, table: str, key: str, value: Any) -> None:
    setting = getattr(getattr(read_recipe(recipe, [change])[0], table), key)
    assert setting == value
    assert type(setting) is type(value)


def test_set_reaches_inheriting_tables(recipe: Path) -> None:
    parsed, _ = read_recipe(recipe, ["train.epochs=3", "train.momentum=0.5"])
    assert (parsed.train.epochs, parsed.teacher.epochs, parsed.proxy.epochs) == (3, 9, 3)
    assert parsed.teacher.momentum == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epochs=0", r"train\.epochs lies in 1\.\."),
        ("teacher.epochs=0", r"teacher\.epochs lies in"),
        ("train.lr=-0.1", "lr"),
        ("train.lr=nan", "lr"),
        ("train.lr=inf", "lr"),
        ("train.lr=high", "train.lr is a number, got 'high'"),
        ("train.epochs=1.0", "train.epochs is a whole number"),
        ("train.epochs=true", "train.epochs is a whole number"),
        ("train.lr=true", "train.lr is a number"),
        ("train.model=3", "train.model is text"),
        ("views.flip=0", "views.flip is true or false"),
        ("train.budget=foo", "known: epochs, samples, steps"),
        ("train.budget=epoch", "did you mean 'epochs'"),
        ("train.schedule=cos", "did you mean 'cosine'"),
        ("train.precision=fp16", "fp32"),
        ('kd.search=["tempreature"]', "did you mean 'temperature'"),
        ("kd.search=0.5", "kd.search is a list"),
        ("kd.max_probes=0", "kd.max_probes"),
        ("kd.temperature=0", "temperature"),
        ("evidence.full_runs=99", "full_runs"),
        ("views.num_views=0", "views.num_views"),
        ("train.epoch=3", "did you mean 'epochs'"),
        ("tarin.epochs=3", "did you mean 'train'"),
        ("train=3", "table.key=value"),
        ("train.=3", "table.key=value"),
        ("epochs", "table.key=value"),
    ],
)
def test_an_invalid_setting_is_refused_with_a_suggestion(recipe: Path, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_recipe(recipe, [change])


@pytest.mark.parametrize(
    "text", ["[train", "x = 1", "[tran]", "[train]\nepoch = 3", "train = 1", "[[train]]", "[train.lr]\na = 1"]
)
def test_an_invalid_recipe_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises((InvalidFile, InvalidValue), match=r"bad\.toml"):
        read_recipe(tmp_path / "bad.toml")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    for path in (tmp_path / "bytes.toml", tmp_path / "absent.toml", tmp_path):
        with pytest.raises(InvalidFile, match=path.name):
            read_recipe(path)


@pytest.mark.parametrize("weight", [-0.01, 1.01, float("nan"), float("inf")])
def test_kd_weights_lie_between_labels_and_teacher(weight: float) -> None:
    with pytest.raises(InvalidValue, match="KD weight"):
        check_kd_weight(weight)
    assert check_kd_weight(0.3) == 0.3


SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@settings(max_examples=150)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_toml_round_trip(tables: dict[str, dict[str, Any]]) -> None:
    parsed = tomllib.loads(to_toml(tables))
    assert parsed == tables
    assert repr(parsed) == repr(tables), "types and signs of zeros too"


@pytest.mark.parametrize("text", ['"', "\\", "\n\r\t\b\f\x00\x1b\x7f\x85", "ü ☃ 𝄞", "'''", '"""', "C:\\new\\table", ""])
def test_special_characters_round_trip(text: str) -> None:
    assert tomllib.loads(to_toml({"t": {"key": text, "list": [text], "none": None}})) == {"t": {"key": text, "list": [text]}}


def test_a_written_recipe_reads_as_itself(tmp_path: Path) -> None:
    original = Recipe(name="written")
    tables = {**original.to_dict(), "run": {"seed": 3}, "environment": {"threads": 2}}
    (tmp_path / "written.toml").write_text(to_toml(tables))
    assert read_recipe(tmp_path / "written.toml") == (original, {"seed": 3})


def test_unknown_names_offer_the_nearest() -> None:
    assert str(UnknownName("scorer", "e2ln", ["random", "el2n"])) == (
        "unknown scorer 'e2ln': did you mean 'el2n'? known: el2n, random"
    )
    assert "did you mean" not in str(UnknownName("scorer", "qqq", ["el2n"]))
