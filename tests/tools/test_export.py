"""Export of scores and subsets, and import of lists of ids and paths: they round-trip."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import load_subset, subset_from_ids
from datapruning.artifacts.subset_file import open_subset, subset_from_file
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.npz import write_npz
from datapruning.tools.export import export
from tests.conftest import CommandResult, fast_options

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
FAST = fast_options()
QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
CLASSES = ("cat", "big, dog")


def scores_of(data: Dataset, values: Any, stderr: Any = None, **provenance: Any) -> Scores:
    """Make scores of `data`."""
    errors = None if stderr is None else np.asarray(stderr, np.float32)
    return Scores(
        np.asarray(values, np.float32), ScoresMetadata(**common_fields(data), scorer="generated", **provenance), errors
    )


@pytest.fixture
def photos(small_dataset: Dataset, tmp_path: Path) -> Dataset:
    """The generated data as if it had been read from image files under tmp_path/photos."""
    paths = tuple(f"train/class {label}/{number}.png" for number, label in enumerate(small_dataset.train.labels))
    return dataclasses.replace(small_dataset, source=str(tmp_path / "photos"), train_paths=paths)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 10 training and 4 test images in two classes."""
    rng = np.random.default_rng(0)
    for role, count in (("train", 5), ("test", 2)):
        for name in CLASSES:
            class_folder = tmp_path / "photos" / role / name
            class_folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(class_folder / f"{number}.png")
    return tmp_path / "photos"


@QUICK
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=6, max_size=6))
def test_a_csv_gives_every_score_back_to_the_last_bit(tmp_path: Path, small_dataset: Dataset, values: list[float]) -> None:
    (tmp_path / "s.csv").unlink(missing_ok=True)
    scores = scores_of(small_dataset, values * 20, np.arange(120) / 7)
    export(scores, tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(120))
    assert np.array([row["score"] for row in rows], np.float32).tobytes() == scores.values.tobytes()
    assert scores.stderr is not None
    assert np.array([row["stderr"] for row in rows], np.float32).tobytes() == scores.stderr.tobytes()


def test_the_table_of_a_subset_has_every_sample_and_marks_kept_ones(tmp_path: Path, small_dataset: Dataset) -> None:
    summary = export(subset_from_ids(np.array([7, 2]), small_dataset, "by hand"), tmp_path / "s.csv")
    assert summary == f"120 rows of id, kept: {tmp_path / 's.csv'}"
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines == ["id,kept", *(f"{i},{int(i in (2, 7))}" for i in range(120))]


def test_a_table_of_images_has_their_paths(tmp_path: Path, photos: Dataset) -> None:
    export(subset_from_ids(np.array([0]), photos, "by hand"), tmp_path / "s.csv", data=photos, paths=True)
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "path", "kept"]
    assert photos.train_paths is not None
    assert [row[1] for row in rows[1:]] == list(photos.train_paths)


def test_a_list_of_scores_is_the_order_of_select(tmp_path: Path, photos: Dataset) -> None:
    values = np.zeros(120)
    values[[40, 3, 99]] = 5, 9, 5
    scores = scores_of(photos, values, unreadable=(99,))
    export(scores, tmp_path / "s.txt")
    ids = [int(line) for line in (tmp_path / "s.txt").read_text().splitlines()]
    assert ids == [3, 40, *(i for i in range(120) if i not in (3, 40, 99))], "equals by id; what cannot be read is left out"
    export(scores, tmp_path / "p.txt", data=photos, paths=True)
    assert photos.train_paths is not None
    assert (tmp_path / "p.txt").read_text().splitlines() == [photos.train_paths[i] for i in ids]
    export(scores, tmp_path / "s.npy")
    exported = np.load(tmp_path / "s.npy", allow_pickle=False)
    assert exported.dtype == np.float32
    assert np.array_equal(exported, values)


@QUICK
@given(ids=st.lists(st.integers(0, 119), min_size=1, unique=True), ending=st.sampled_from([".txt", ".npy", "paths"]))
def test_a_subset_round_trips_through_every_list(tmp_path: Path, photos: Dataset, ids: list[int], ending: str) -> None:
    out = tmp_path / ("paths.txt" if ending == "paths" else f"ids{ending}")
    out.unlink(missing_ok=True)
    subset = subset_from_ids(np.array(ids), photos, "by hand")
    export(subset, out, data=photos, paths=ending == "paths")
    loaded = open_subset(out, photos)
    assert loaded.indices.dtype == np.int64
    assert loaded.indices.tolist() == sorted(ids)
    assert (loaded.meta.source, loaded.meta.fingerprint) == (str(out), photos.fingerprint)


@pytest.mark.parametrize("damage", ["plain", "dot", "absolute", "from here", "windows", "link", "windows lines"])
def test_a_path_may_be_written_in_several_ways(
    tmp_path: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    assert photos.train_paths is not None
    (tmp_path / "photos").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    ways: dict[str, Callable[[str], str]] = {
        "dot": lambda path: f"./{path}",
        "absolute": lambda path: str(tmp_path / "photos" / path),
        "from here": lambda path: f"photos/{path}",
        "windows": lambda path: path.replace("/", "\\"),
        "link": lambda path: str(tmp_path / "linked" / path),
    }
    written = [ways.get(damage, str)(photos.train_paths[i]) for i in (9, 4)]
    end = "\r\n" if damage == "windows lines" else "\n"
    (tmp_path / "list.txt").write_bytes("".join(f"{path}{end}{end}" for path in written).encode())
    (tmp_path / "photos" / "train" / "class 0").mkdir(parents=True)
    assert subset_from_file("list.txt", photos).indices.tolist() == [4, 9]


@pytest.mark.parametrize("text", ["train/class 0/no.png\n", "elsewhere.png\n", "/etc/passwd\n", "photos\n", "..\n"])
def test_a_line_without_an_image_is_named(tmp_path: Path, photos: Dataset, text: str) -> None:
    assert photos.train_paths is not None
    (tmp_path / "list.txt").write_text(f"{photos.train_paths[3]}\n\n{text}")
    with pytest.raises(
        InvalidFile, match=r"list\.txt, line 3: '.*' is not a training image of generated; .* like 'train/class"
    ):
        subset_from_file(tmp_path / "list.txt", photos)


def test_a_path_that_stands_twice_is_named(tmp_path: Path, photos: Dataset) -> None:
    assert photos.train_paths is not None
    (tmp_path / "list.txt").write_text(f"{photos.train_paths[3]}\n./{photos.train_paths[3]}\n")
    with pytest.raises(InvalidFile, match=r"line 2: .* is in line 1 already"):
        subset_from_file(tmp_path / "list.txt", photos)


def test_unreadable_images_are_not_used(tmp_path: Path, photos: Dataset) -> None:
    (tmp_path / "ids.txt").write_text("1\n2\n3\n")
    with pytest.raises(InvalidValue, match=r"ids\.txt: id 2 is an image that cannot be read \(1 such id\)"):
        subset_from_file(tmp_path / "ids.txt", dataclasses.replace(photos, corrupt_ids=(2, 77)))


def test_a_path_with_a_line_break_is_refused_in_lists(tmp_path: Path, photos: Dataset) -> None:
    assert photos.train_paths is not None
    odd = dataclasses.replace(photos, train_paths=("train/a\nb.png", *photos.train_paths[1:]))
    with pytest.raises(InvalidFile, match=r"a\\nb\.png.* has a line break"):
        export(subset_from_ids(np.array([0]), odd, "by hand"), tmp_path / "p.txt", data=odd, paths=True)
    assert not list(tmp_path.iterdir())


def test_the_file_s_own_dataset_is_needed(tmp_path: Path, small_dataset: Dataset, digits: Dataset) -> None:
    subset = subset_from_ids(np.array([0]), small_dataset, "by hand")
    with pytest.raises(IncompatibleInputs, match="this subset was made from another dataset"):
        export(subset, tmp_path / "s.csv", data=digits)
    with pytest.raises(InvalidValue, match="name the dataset, generated"):
        export(subset, tmp_path / "s.csv", paths=True)


def test_parquet_keeps_types_and_metadata(tmp_path: Path, small_dataset: Dataset) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    scores = scores_of(small_dataset, np.arange(120) / 7, np.ones(120))
    export(scores, tmp_path / "s.parquet")
    table = parquet.read_table(tmp_path / "s.parquet")
    assert [(f.name, str(f.type)) for f in table.schema] == [("id", "int64"), ("score", "float"), ("stderr", "float")]
    assert np.array_equal(table["score"].to_numpy(), scores.values)
    assert json.loads(table.schema.metadata[b"datapruning"]) == scores.meta.to_json()
    export(subset_from_ids(np.array([5]), small_dataset, "by hand"), tmp_path / "k.parquet")
    kept = parquet.read_table(tmp_path / "k.parquet")["kept"]
    assert (str(kept.type), np.flatnonzero(kept.to_numpy()).tolist()) == ("bool", [5])


def test_parquet_without_pyarrow_is_one_line(
    dprune: Dprune, tmp_path: Path, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_of(small_dataset, np.arange(120)).save(tmp_path / "s.npz")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    command = dprune("export", "s.npz", "--out", "s.parquet")
    assert (command.code, command.out) == (2, "")
    assert command.err == "dprune: a .parquet file needs the package pyarrow: pip install pyarrow, or write a .csv\n"
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_image_paths_round_trip_through_a_list(dprune: Dprune, folder: Path, tmp_path: Path) -> None:
    data = ["--data", folder.name, "--image-size", "8"]
    (tmp_path / "custom.txt").write_text("photos/train/cat/3.png\nphotos/train/big, dog/0.png\n")
    first = dprune("select", "--ids", "custom.txt", *data, "--out", "custom.npz")
    assert first.code == 0, first.err
    command = dprune("export", "custom.npz", *data, "--paths", "--out", "paths.txt")
    assert (command.code, command.out) == (0, "2 paths: paths.txt\n")
    assert sorted((tmp_path / "paths.txt").read_text().splitlines()) == ["train/big, dog/0.png", "train/cat/3.png"]
    repeated = dprune("select", "--ids", "paths.txt", *data, "--out", "again.npz")
    assert repeated.code == 0, repeated.err
    assert load_subset("again.npz").indices.tolist() == load_subset("custom.npz").indices.tolist()
    table = dprune("export", "custom.npz", *data, "--paths", "--out", "deep/table.csv")
    assert table.out == "10 rows of id, path, kept: deep/table.csv\n"
    with (tmp_path / "deep" / "table.csv").open(newline="") as file:
        kept = [row["path"] for row in csv.DictReader(file) if row["kept"] == "1"]
    assert kept == (tmp_path / "paths.txt").read_text().splitlines()


def test_train_takes_plain_lists(dprune: Dprune, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("".join(f"{i}\n" for i in range(100)))
    np.save(tmp_path / "ids.npy", np.arange(100)[::-1])
    arguments = ["train", "--data", "digits", "--kd-weight", "0", *FAST, "--out", "run", "--subset"]
    assert dprune(*arguments, "ids.txt").code == 0
    assert load_subset("run/subset.npz").indices.tolist() == list(range(100))
    repeated = dprune(*arguments, "ids.npy")
    assert repeated.code == 0
    assert "is finished already" in repeated.err, "the same samples are the same run"


def test_export_of_a_run_writes_its_weights(dprune: Dprune, expect_refusal: ExpectRefusal) -> None:
    assert dprune("train", "--fraction", "0.1", "--kd-weight", "0", *FAST, "--out", "run").code == 0
    command = dprune("export", "run", "--out", "weights.safetensors")
    assert command.code == 0, command.err
    assert command.out.startswith("weights.safetensors: ")
    assert "run/subset.npz" in expect_refusal("export", "run", "--out", "ids.txt")
    assert "leave paths and data out" in expect_refusal("export", "run", "--out", "w.safetensors", "--paths")
    assert dprune("export", "run/subset.npz", "--out", "ids.txt").out == "144 ids: ids.txt\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.npz", "--out", "x.csv"], "absent.npz does not exist"),
        (["s.npz", "--out", "x.xlsx"], ".csv, .parquet, .txt or .npy"),
        (["s.npz", "--out", "x"], ".csv, .parquet, .txt or .npy"),
        (["s.npz", "--out", "taken.csv"], "taken.csv exists"),
        (
            ["s.npz", "--out", "x.csv", "--sparse"],
            "only the weights of a pruned run can be sparse; s.npz is no run folder (--sparse)",
        ),
        (["s.npz", "--out", "x.txt", "--paths"], "--data"),
        (["s.npz", "--out", "x.npy", "--paths", "--data", "digits"], "not paths"),
        (["s.npz", "--out", "x.txt", "--paths", "--data", "digits"], "digits has no files"),
        (["other.npz", "--out", "x.txt", "--data", "digits"], "made from another dataset"),
        (["cut.npz", "--out", "x.csv"], "cut.npz"),
        (["taken.csv", "--out", "x.csv"], "taken.csv"),
        (["influence.npz", "--out", "x.csv"], "neither a scores nor a subset file: its format is 'datapruning.influence'"),
        (["empty", "--out", "x.safetensors"], "no finished run"),
        (["s.npz"], "--out"),
    ],
)
def test_invalid_exports_are_refused(
    expect_refusal: ExpectRefusal,
    tmp_path: Path,
    digits: Dataset,
    small_dataset: Dataset,
    arguments: list[str],
    message: str,
) -> None:
    subset_from_ids(np.arange(3), digits, "by hand").save(tmp_path / "s.npz")
    subset_from_ids(np.arange(3), small_dataset, "by hand").save(tmp_path / "other.npz")
    write_npz(tmp_path / "influence.npz", {}, {**common_fields(digits), "format": "datapruning.influence", "version": 1})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "s.npz").read_bytes()[:200])
    (tmp_path / "taken.csv").write_text("the only copy")
    (tmp_path / "empty").mkdir()
    assert message in expect_refusal("export", *arguments)


@pytest.mark.parametrize("verb", ["select", "train"])
def test_lists_that_fit_no_dataset_are_refused(expect_refusal: ExpectRefusal, tmp_path: Path, verb: str) -> None:
    (tmp_path / "paths.txt").write_text("train/cat/3.png\n")
    np.save(tmp_path / "far.npy", np.array([1438]))
    arguments = ["--data", "digits", *(["--ids"] if verb == "select" else [*FAST, "--subset"])]
    assert "paths.txt, line 1: 'train/cat/3.png' is no sample id" in expect_refusal(verb, *arguments, "paths.txt")
    assert "id 1438 is not in 0..1437" in expect_refusal(verb, *arguments, "far.npy")
    assert "absent.txt is not there" in expect_refusal(verb, *arguments, "absent.txt")
