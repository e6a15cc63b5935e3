"""Bad input through the command line: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.artifacts.metadata import ScoresMetadata, SubsetMetadata, common_fields
from datapruning.artifacts.subset import subset_from_ids
from datapruning.data.dataset import Dataset
from datapruning.io.json import write_json
from datapruning.io.npz import write_npz
from datapruning.io.text import prepend_checksum
from tests.conftest import CommandResult, fast_options
from tests.helpers.results import teacher_result

ExpectRefusal = Callable[..., str]
FAST = fast_options()

BAD_FRACTIONS = [
    "0",
    "-0.3",
    "1.0001",
    "30",
    "nan",
    "inf",
    "-inf",
    "half",
    "",
    "1/0",
    "1e999999999",
    "1e-999999999",
    "0.0003",
]
NO_INTEGERS = {
    "float16": np.array([0, 1, 4097], np.float16),
    "float64": np.arange(5.0),
    "bool": np.arange(1438) < 10,
    "text": np.array(["1", "2"]),
}


def scores_file(path: Path, data: Dataset, values: Any = None, **meta: Any) -> Path:
    """Write a scores file of `data` with changed `values` and `meta`."""
    column = np.arange(data.total, dtype=np.float32) if values is None else values
    write_npz(path, {"score": column}, {**ScoresMetadata(**common_fields(data), scorer="generated").to_json(), **meta})
    return path


def subset_file(path: Path, data: Dataset, indices: Any = None, **meta: Any) -> Path:
    """Write a subset file of `data` with changed `indices` and `meta`."""
    ids = np.arange(20) if indices is None else indices
    write_npz(path, {"indices": ids}, {**SubsetMetadata(**common_fields(data), scorer="generated").to_json(), **meta})
    return path


def teacher_folder(path: Path, data: Dataset, **result: Any) -> Path:
    """Write a finished teacher run for `data` without weights."""
    values = teacher_result(data, model="convnet").to_json()
    path.mkdir()
    write_json(path / "result.json", {**values, **result})
    return path


@pytest.mark.parametrize("fraction", BAD_FRACTIONS)
def test_bad_fractions_are_refused_by_select(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, fraction: str
) -> None:
    scores = scores_file(tmp_path / "s.npz", digits)
    assert "fraction" in expect_refusal("select", "--scores", scores, "--fraction", fraction)


@pytest.mark.parametrize("fraction", BAD_FRACTIONS)
def test_bad_fractions_are_refused_by_train(expect_refusal: ExpectRefusal, fraction: str) -> None:
    assert "fraction" in expect_refusal("train", "--fraction", fraction, *FAST)


def test_percentages_and_fractions_are_distinguished(expect_refusal: ExpectRefusal) -> None:
    assert "did you mean 0.3?" in expect_refusal("train", "--fraction", "30", *FAST)


def test_a_fraction_that_keeps_no_sample_is_refused_before_training(expect_refusal: ExpectRefusal) -> None:
    assert "keeps 0" in expect_refusal("train", "--fraction", "0.0001", "--scorer", "el2n", *FAST)


@pytest.mark.parametrize("weight", ["1.5", "-0.1", "nan", "inf", "lots", ""])
def test_bad_kd_weights_are_refused(expect_refusal: ExpectRefusal, weight: str) -> None:
    assert "KD weight" in expect_refusal("train", "--fraction", "0.5", "--kd-weight", weight, *FAST)


@pytest.mark.parametrize("verb", ["select", "train"])
def test_scores_of_another_dataset_are_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, small_dataset: Dataset, verb: str
) -> None:
    scores = scores_file(tmp_path / "s.npz", small_dataset)
    arguments = [verb, "--data", "digits", "--scores", scores, "--fraction", "0.5"]
    line = expect_refusal(*arguments, *(FAST if verb == "train" else []))
    assert "generated" in line
    assert "digits" in line


@pytest.mark.parametrize("verb", ["train", "cache"])
def test_a_subset_of_another_dataset_is_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, small_dataset: Dataset, verb: str
) -> None:
    subset = subset_file(tmp_path / "s.npz", small_dataset)
    line = expect_refusal(verb, "--subset", subset, *(FAST if verb == "train" else []))
    assert "generated" in line
    assert "digits" in line


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_other_format_versions_are_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, version: Any
) -> None:
    scores = scores_file(tmp_path / "scores.npz", digits, version=version)
    subset = subset_file(tmp_path / "subset.npz", digits, version=version)
    assert "format version" in expect_refusal("select", "--scores", scores, "--fraction", "0.5")
    assert "format version" in expect_refusal("train", "--subset", subset, *FAST)
    assert "format version" in expect_refusal("inspect", subset)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_truncated_files_are_refused(expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, share: float) -> None:
    for path in (scores_file(tmp_path / "scores.npz", digits), subset_file(tmp_path / "subset.npz", digits)):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
    expect_refusal("select", "--scores", tmp_path / "scores.npz", "--fraction", "0.5")
    expect_refusal("train", "--scores", tmp_path / "scores.npz", "--fraction", "0.5", *FAST)
    expect_refusal("train", "--subset", tmp_path / "subset.npz", *FAST)
    expect_refusal("inspect", tmp_path / "subset.npz")


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([5, 1438]), "id 1438"),
        (np.array([-1, 5]), "id -1"),
        (np.array([3, 7, 7]), "id 7"),
        (np.array([7, 3]), "not sorted"),
        (np.array([], np.int64), "at least one"),
        (np.array([[1, 2]]), "flat"),
        *((ids, "whole numbers" if name != "bool" else "boolean mask") for name, ids in NO_INTEGERS.items()),
    ],
)
def test_a_subset_with_impossible_ids_is_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, indices: Any, message: str
) -> None:
    assert message in expect_refusal("train", "--subset", subset_file(tmp_path / "s.npz", digits, indices), *FAST)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([5, 1438]), "id 1438"),
        (np.array([2**63], np.uint64), "id 9223372036854775808"),
        (np.array([-1, 5]), "id -1"),
        (np.array([3, 7, 3]), "id 3"),
        *((ids, "whole numbers" if name != "bool" else "boolean mask") for name, ids in NO_INTEGERS.items()),
    ],
)
def test_impossible_plain_ids_are_refused(expect_refusal: ExpectRefusal, tmp_path: Path, indices: Any, message: str) -> None:
    np.save(tmp_path / "ids.npy", indices)
    assert message in expect_refusal("select", "--ids", tmp_path / "ids.npy", "--data", "digits")


@pytest.mark.parametrize("text", ["1\ntwo\n3\n", "1.0\n", "0x1f\n", "1, 2\n", "1\n\n\x00\n"])
def test_an_invalid_id_line_is_named(expect_refusal: ExpectRefusal, tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.txt").write_text(text)
    assert "line " in expect_refusal("select", "--ids", tmp_path / "ids.txt", "--data", "digits")


@pytest.mark.parametrize("wrong", ["NaN", "short", "float64", "table"])
def test_scores_with_nan_or_of_the_wrong_kind_are_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, wrong: str
) -> None:
    values = np.zeros(digits.total, np.float32)
    if wrong == "NaN":
        values[17] = np.nan
    values = {"short": values[1:], "float64": values.astype(np.float64), "table": values[:, None]}.get(wrong, values)
    scores = scores_file(tmp_path / "s.npz", digits, values)
    line = expect_refusal("select", "--scores", scores, "--fraction", "0.5")
    assert ("first is id 17" in line) == (wrong == "NaN")
    expect_refusal("train", "--scores", scores, "--fraction", "0.5", *FAST)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"scores": {"costs": {"warp": 1}}}, "in scores.costs, unknown key 'warp'"),
        ({"scores": {"costs": "much"}}, "s.npz: 'scores."),
        ({"fraction": "half"}, "fraction"),
        ({"balance": 3}, "balance"),
    ],
)
def test_a_subset_with_broken_metadata_is_refused_before_anything_is_trained(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, meta: dict[str, Any], message: str
) -> None:
    assert message in expect_refusal("train", "--subset", subset_file(tmp_path / "s.npz", digits, **meta), *FAST)


def test_scores_and_subsets_are_not_interchangeable(expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset) -> None:
    scores, subset = scores_file(tmp_path / "scores.npz", digits), subset_file(tmp_path / "subset.npz", digits)
    assert "its format is 'datapruning.scores'" in expect_refusal("train", "--subset", scores, *FAST)
    assert "its format is 'datapruning.scores'" in expect_refusal("cache", "--subset", scores)
    assert "its format is 'datapruning.subset'" in expect_refusal("select", "--scores", subset, "--fraction", "0.5")
    assert "its format is 'datapruning.subset'" in expect_refusal("train", "--scores", subset, "--fraction", "0.5", *FAST)


@pytest.mark.parametrize("name", ["notes.txt", "folder", "absent.npz", "pickle.npz", "plain.npz", "array.npy"])
def test_other_files_are_refused_as_scores_and_subsets(expect_refusal: ExpectRefusal, tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("nothing of ours")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "pickle.npz", indices=np.array([{}], object), meta="{}")
    np.savez(tmp_path / "plain.npz", indices=np.arange(3))
    np.save(tmp_path / "array.npy", np.arange(3))
    for words in (["select", "--scores", name, "--fraction", "0.5"], ["inspect", name]):
        assert name in expect_refusal(*words)
    if name != "array.npy":  # which is a list of ids
        assert name in expect_refusal("train", "--subset", name, *FAST)


@pytest.mark.parametrize(
    "wrong", ["absent", "unfinished", "empty", "other classes", "other dataset", "no weights", "no run"]
)
def test_a_teacher_that_cannot_teach_is_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, small_dataset: Dataset, wrong: str
) -> None:
    teacher = tmp_path / "teacher"
    if wrong == "unfinished":
        teacher.mkdir()
        (teacher / "config.toml").write_text("[run]\nverb = 'teach'\n")
    elif wrong == "empty":
        teacher.mkdir()
    elif wrong == "no run":
        teacher.write_text("a file")
    elif wrong != "absent":
        changes: dict[str, Any] = {
            "other classes": {"classes": small_dataset.classes},
            "other dataset": {"fingerprint": small_dataset.fingerprint, "dataset": small_dataset.name},
        }.get(wrong, {})
        teacher_folder(teacher, digits, **changes)
    line = expect_refusal("train", "--fraction", "0.5", "--teacher", teacher, *FAST)
    assert "teacher" in line
    message = {"other classes": "4 classes", "other dataset": "generated", "unfinished": "no finished run"}
    assert message.get(wrong, "teacher") in line


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["score", "--scorer", "e2ln"], "el2n"),
        (["train", "--fraction", "0.5", "--scorer", "forgeting"], "forgetting"),
        (["train", "--fraction", "0.5", "--model", "resnet-18"], "resnet18"),
        (["teach", "--model", "convnt"], "convnet"),
        (["train", "--fraction", "0.5", "--recipe", "digit"], "digits"),
        (["recipes", "show", "fashion"], "fashion-mnist"),
        (["recipes", "shw", "digits"], "show"),
        (["score", "--data", "cifar-100"], "cifar100"),
        (["train", "--fraction", "0.5", "--balance", "clas"], "class"),
        (["score", "--loader", "memroy"], "memory"),
        (["train", "--fraction", "0.5", "--budget", "step"], "steps"),
        (["train", "--fraction", "0.5", "--set", "tran.lr=1"], "train"),
        (["train", "--fraction", "0.5", "--set", "train.epoch=1"], "epochs"),
        (["train", "--fraction", "0.5", "--set", "train.schedule=cosin"], "cosine"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(expect_refusal: ExpectRefusal, arguments: list[str], nearest: str) -> None:
    assert f"did you mean '{nearest}'?" in expect_refusal(*arguments)


def test_unknown_strategies_and_balances_get_the_nearest_one(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset
) -> None:
    arguments = ["select", "--scores", scores_file(tmp_path / "s.npz", digits), "--fraction", "0.5"]
    assert "did you mean 'random'?" in expect_refusal(*arguments, "--strategy", "randm")
    assert "did you mean 'class'?" in expect_refusal(*arguments, "--balance", "classes")


def test_an_unknown_balance_is_refused_before_the_proxies_train(expect_refusal: ExpectRefusal) -> None:
    assert "balance" in expect_refusal("train", "--fraction", "0.5", "--scorer", "el2n", "--balance", "clas", *FAST)


@pytest.mark.parametrize(
    "device",
    ["gpu", "cuda:x", "", "mps", "meta"],
)
def test_a_missing_device_is_refused(expect_refusal: ExpectRefusal, device: str) -> None:
    assert "device" in expect_refusal("score", "--scorer", "random", "--device", device)


@pytest.mark.parametrize("name", ["digits.npz", "fashion-mnist"])
def test_a_missing_dataset_is_refused(expect_refusal: ExpectRefusal, name: str) -> None:
    assert name in expect_refusal("score", "--data", name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--fraction", "0.5", *FAST],
        ["train", "--fraction", "0.5", "--kd-weight", "0", *FAST],
        ["teach", *FAST],
    ],
)
@pytest.mark.parametrize("existing", ["a folder with a file", "a file"])
def test_a_run_folder_with_other_content_is_unchanged(
    expect_refusal: ExpectRefusal, tmp_path: Path, arguments: list[str], existing: str
) -> None:
    folder = tmp_path / "output"
    kept = folder / "thesis.txt" if existing == "a folder with a file" else folder
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("the only copy")
    assert "output" in expect_refusal(*arguments, "--out", folder)
    assert kept.read_text() == "the only copy"


def test_a_run_folder_of_another_run_is_not_touched(
    dprune: Callable[..., CommandResult], expect_refusal: ExpectRefusal, tmp_path: Path
) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "config.toml").write_text(prepend_checksum('[run]\nverb = "train"\nseed = 8\n'))
    for words in (["train", "--fraction", "0.5"], ["teach"]):
        assert "another run" in expect_refusal(*words, *FAST, "--out", folder)
    assert (folder / "config.toml").read_text().endswith("seed = 8\n")


@pytest.mark.parametrize("content", [b"", b"the only copy", b"PK\x03\x04 and no more"])
@pytest.mark.parametrize("scorer", ["random", "el2n"])
def test_score_never_writes_over_another_file(
    expect_refusal: ExpectRefusal, tmp_path: Path, content: bytes, scorer: str
) -> None:
    path = tmp_path / "scores.npz"
    path.write_bytes(content)
    assert "scores.npz" in expect_refusal("score", "--scorer", scorer, "--out", path, *FAST)
    assert path.read_bytes() == content


def test_score_never_writes_over_other_scores(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, small_dataset: Dataset
) -> None:
    for name, data in (("other.npz", digits), ("another-dataset.npz", small_dataset)):
        path = scores_file(tmp_path / name, data)
        before = path.read_bytes()
        assert "name another output (--out)" in expect_refusal("score", "--scorer", "random", "--out", path, *FAST)
        assert path.read_bytes() == before


def test_select_never_writes_over_anything_else(expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset) -> None:
    scores = scores_file(tmp_path / "scores.npz", digits)
    (tmp_path / "notes.npz").write_bytes(b"the only copy")
    subset_from_ids(np.arange(3), digits, "by hand").save(tmp_path / "subset.npz")
    for name in ("notes.npz", "scores.npz", "subset.npz"):
        before = (tmp_path / name).read_bytes()
        assert name in expect_refusal("select", "--scores", scores, "--fraction", "0.5", "--out", tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--subset", "s.npz", "--fraction", "0.5"], "fraction"),
        (["train", "--subset", "s.npz", "--scorer", "el2n"], "scorer"),
        (["train", "--subset", "s.npz", "--scores", "c.npz"], "scores"),
        (["train", "--subset", "s.npz", "--balance", "class"], "balance"),
        (["train", "--fraction", "0.5", "--scores", "c.npz", "--scorer", "el2n"], "scorer"),
        (["train", "--scores", "c.npz"], "fraction"),
        (["train"], "fraction"),
        (["select"], "--scores"),
        (["select", "--scores", "c.npz"], "--fraction"),
        (["select", "--scores", "c.npz", "--ids", "i.txt"], "--ids"),
        (["select", "--ids", "i.txt", "--fraction", "0.5"], "--ids"),
        (["score", "--scorer", "el2n,random", "--out", "one.npz"], "one.npz"),
        (["score", "--scorer", ","], "--scorer"),
        (["recipes", "show"], "recipe"),
        (["inspect"], "path"),
        (["train", "--fraction"], "--fraction"),
        (["train", "--fracton", "0.5"], "--fraction"),
        (["trian"], "trian"),
        (["select", "--scores", "c.npz", "surplus"], "surplus"),
        (["score", "--threads", "0"], "--threads"),
        (["score", "--threads", "two"], "--threads"),
        (["score", "--seed", "1.5"], "--seed"),
        (["score", "--seed", "-1"], "--seed"),
        (["train", "--fraction", "0.5", "--seed", str(2**32)], "--seed"),
        (["demo", "--seeds", "0"], "--seeds"),
    ],
)
def test_invalid_options_are_refused(
    expect_refusal: ExpectRefusal, tmp_path: Path, digits: Dataset, arguments: list[str], message: str
) -> None:
    scores_file(tmp_path / "c.npz", digits)
    subset_file(tmp_path / "s.npz", digits)
    (tmp_path / "i.txt").write_text("1\n2\n")
    assert message in expect_refusal(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epochs=0", "epochs"),
        ("train.lr=-1", "lr"),
        ("train.lr=nan", "lr"),
        ("train.lr=fast", "train.lr is a number"),
        ("train.epochs=2.5", "train.epochs is a whole number"),
        ("train.epochs=true", "train.epochs is a whole number"),
        ("views.flip=1", "views.flip is true or false"),
        ("train.budget=foo", "epochs, samples, steps"),
        ("train.batch_size=0", "batch_size"),
        ("views.crop=-1", "crop"),
        ("views.num_views=0", "num_views"),
        ("kd.search=['tempreature']", "temperature"),
        ("kd.search=0.5", "kd.search is a list"),
        ("kd.temperature=0", "temperature"),
        ("evidence.runs=0", "runs"),
        ("train.lr", "table.key=value"),
        ("lr=0.1", "table.key=value"),
        ("", "table.key=value"),
    ],
)
def test_invalid_settings_are_refused(expect_refusal: ExpectRefusal, change: str, message: str) -> None:
    assert message in expect_refusal("train", "--fraction", "0.5", "--set", change)


@pytest.mark.parametrize("text", ["", "nonsense", "[train]\nlr = ", "[run]\n", "[train]\nepoch = 3\n", "train = 3\n"])
def test_an_invalid_recipe_is_refused(expect_refusal: ExpectRefusal, tmp_path: Path, text: str) -> None:
    (tmp_path / "custom.toml").write_text(text)
    expect_refusal("train", "--recipe", "custom.toml", "--fraction", "0")
    expect_refusal("train", "--recipe", "absent.toml", "--fraction", "0.5")


@pytest.mark.parametrize("line", ["data = 3", "seed = 'x'", "kd_weight = []", "teacher = 'x'"])
def test_a_config_with_impossible_options_is_refused(expect_refusal: ExpectRefusal, tmp_path: Path, line: str) -> None:
    (tmp_path / "config.toml").write_text(f"[run]\n{line}\n")
    assert f"config.toml: in [run]: '{line.split()[0]}" in expect_refusal(
        "train", "--recipe", "config.toml", "--fraction", "0.5"
    )


def test_recipes_copy_never_writes_over_a_file(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    (tmp_path / "digits.toml").write_text("custom")
    assert "digits.toml exists" in expect_refusal("recipes", "copy", "digits")
