"""Image folders: ids and classes, holdout, decoding once, and errors through the command line."""

from __future__ import annotations

import errno
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DatasetSpec, parse_dataset_spec
from datapruning.data.image_folder.scan import scan_image_folder, split_holdout
from datapruning.errors import InvalidFile, InvalidValue, UnknownName
from datapruning.io.json import read_json, write_json
from datapruning.utils.system import PROJECT_ROOT
from tests.conftest import CommandResult, fast_options
from tests.helpers.image_files import corrupt_image, make_image_folder, write_image

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
ROOT = PROJECT_ROOT
RED, BLUE = (200, 30, 30), (20, 30, 210)


def opened(root: Path, workspace: Path, **options: object) -> Dataset:
    return dp.open_dataset(str(root), image_size=8, workspace=workspace, **options)  # type: ignore[arg-type]


def test_ids_and_classes_are_those_of_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for role in ("train", "val"):
        for name in ("9/1.png", "10/2.PNG", "10/10.png", "a b/x.jpg", "a b/deep/er/y.bmp", "a b/deep-er/z.webp", "B/é.tif"):
            write_image(tmp_path / role / name, RED)
    (tmp_path / "train/9/notes.txt").write_text("not an image")
    classes, train, test = scan_image_folder(tmp_path, None)
    theirs = ImageFolder(tmp_path / "train")
    assert list(classes) == theirs.classes == ["10", "9", "B", "a b"]
    assert [str(tmp_path / path) for path in train.names] == [path for path, _ in theirs.samples]
    assert train.labels.tolist() == theirs.targets
    assert test.names[0] == "val/10/10.png"


def test_symlink_loops_terminate_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    for role in ("train", "test"):
        for name in ("a/1.png", "a/._1.png", "a/.thumbs/1.png", ".cache/1.png"):
            write_image(tmp_path / role / name, RED)
    (tmp_path / "train/a/again").symlink_to(tmp_path / "train")
    write_image(tmp_path / "elsewhere/2.png", RED)
    (tmp_path / "train/a/more").symlink_to(tmp_path / "elsewhere")
    classes, train, _ = scan_image_folder(tmp_path, None)
    assert classes == ("a",)
    assert train.names == ("train/a/1.png", "train/a/more/2.png")


def test_a_folder_is_a_dataset(tmp_path: Path) -> None:
    data = opened(make_image_folder(tmp_path / "pets"), tmp_path / "runs")
    assert (data.name, data.total, len(data.test), data.class_names) == ("pets", 24, 8, ("cats", "dogs"))
    assert data.train.shape == (8, 8, 3)
    assert data.train_paths is not None
    assert data.train_paths[:3] == ("train/cats/0.jpg", "train/cats/1.png", "train/cats/10.png")
    assert data.test_paths is not None
    assert len(data.test_paths) == 8
    red, blue = (data.train.images[data.train.labels == label].mean((0, 1, 2)) for label in (0, 1))
    np.testing.assert_allclose(red, (200, 80, 40), atol=8)
    np.testing.assert_allclose(blue, (30, 90, 200), atol=8)


def test_images_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datapruning.data.image_folder import decode_cache as module

    decoded, original = [], module.decode
    monkeypatch.setattr(
        module, "decode", lambda content, size, bounds: (decoded.append(size), original(content, size, bounds))[1]
    )
    root = make_image_folder(tmp_path / "pets")
    first = opened(root, tmp_path / "runs")
    repeated = opened(root, tmp_path / "runs")
    assert decoded == [8] * 32
    assert repeated.fingerprint == first.fingerprint
    np.testing.assert_array_equal(repeated.train.images, first.train.images)
    folder = next((tmp_path / "runs/cache").iterdir())
    assert (folder / "train.txt").read_text().split() == list(first.train_paths or ())
    write_image(root / "train/cats/1.png", BLUE)
    changed = opened(root, tmp_path / "runs")
    assert len(decoded) > 32
    assert changed.fingerprint != first.fingerprint


def test_the_fingerprint_depends_on_files_classes_and_size_but_not_on_the_path(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    first = opened(root, tmp_path / "runs")
    shutil.copytree(root, tmp_path / "copied", copy_function=shutil.copyfile)
    assert opened(tmp_path / "copied", tmp_path / "other").fingerprint == first.fingerprint
    larger = dp.open_dataset(str(root), image_size=9, workspace=tmp_path / "runs")
    assert larger.fingerprint != first.fingerprint
    (tmp_path / "copied/test/cats/0.jpg").rename(tmp_path / "copied/test/cats/00.jpg")
    assert opened(tmp_path / "copied", tmp_path / "other").fingerprint != first.fingerprint


def test_the_source_opens_the_same_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.move(make_image_folder(tmp_path / "made") / "train", tmp_path / "pets")
    data = opened(Path("pets"), tmp_path / "runs", holdout=0.25)
    assert data.source == f"{tmp_path / 'pets'}?image-size=8&holdout=0.25"
    monkeypatch.chdir("/")
    assert dp.open_dataset(data.source, workspace=tmp_path / "runs").fingerprint == data.fingerprint


def test_holdout_takes_the_fraction_of_each_class() -> None:
    names = [f"class{label}/{number}.jpg" for label, count in ((0, 200), (1, 40), (2, 1)) for number in range(count)]
    labels = np.repeat([0, 1, 2], [200, 40, 1])
    holdout_ids = split_holdout(names, labels, 0.1)
    assert np.bincount(labels[holdout_ids], minlength=3).tolist() == [20, 4, 0]
    assert split_holdout(names, labels, 0.2)[holdout_ids].all()
    more = split_holdout([*names, "class2/new.jpg"], np.append(labels, 2), 0.1)
    np.testing.assert_array_equal(more[:-1], holdout_ids)
    assert split_holdout(names, labels, 0.999).sum() == 199 + 39


def test_held_out_images_are_the_test_set_and_ids_count_the_others(tmp_path: Path) -> None:
    for label, name in enumerate(("a", "b")):
        for number in range(10):
            write_image(tmp_path / f"pets/{name}/{number}.png", (20 * number, 100 * label, 0))
    data = opened(tmp_path / "pets", tmp_path / "runs", holdout=0.2)
    assert np.bincount(data.train.labels).tolist() == [8, 8]
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert data.train_paths is not None
    assert data.test_paths is not None
    both = [*data.train_paths, *data.test_paths]
    assert sorted(both) == sorted(f"{name}/{number}.png" for name in "ab" for number in range(10))
    assert list(data.train_paths) == sorted(data.train_paths)
    for paths, split in ((data.train_paths, data.train), (data.test_paths, data.test)):
        for path, image, label in zip(paths, split.images, split.labels, strict=True):
            assert image[0, 0].tolist() == [20 * int(path[2]), 100 * label, 0]


def test_a_class_with_one_image_and_only_a_train_folder(tmp_path: Path) -> None:
    for number in range(9):
        write_image(tmp_path / f"pets/train/a/{number}.png", RED)
    write_image(tmp_path / "pets/train/b/only.png", BLUE)
    data = opened(tmp_path / "pets", tmp_path / "runs", holdout=0.5)
    assert np.bincount(data.train.labels).tolist() == [4, 1]
    assert data.class_names == ("a", "b")


def test_the_workspace_is_not_a_class_folder(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets") / "train"
    write_image(root / "runs/report/1.png", RED)
    assert opened(root, root / "runs", holdout=0.25).class_names == ("cats", "dogs")


def test_unreadable_images_keep_their_ids_and_are_never_selected(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    for name, damage in (("train/cats/1.png", "empty"), ("train/dogs/0.jpg", "truncated"), ("test/dogs/2.bmp", "text")):
        corrupt_image(root / name, damage)
    data = opened(root, tmp_path / "runs", skip_unreadable=True)
    assert data.train_paths is not None
    assert [data.train_paths[i] for i in data.corrupt_ids] == ["train/cats/1.png", "train/dogs/0.jpg"]
    assert (data.total, len(data.test)) == (24, 7)
    assert "test/dogs/2.bmp" not in (data.test_paths or ())
    assert (data.train.images[list(data.corrupt_ids)] == 128).all()
    manifest = json.loads(next((tmp_path / "runs").rglob("train.json")).read_text())
    assert [file["name"] for file in manifest["corrupt"]] == ["train/cats/1.png", "train/dogs/0.jpg"]
    scores = dp.score(dp.open_context(data, workspace=tmp_path / "runs", loader="memory"), "random")
    for fraction in (0.5, 1):
        kept = dp.select(scores, fraction=fraction).indices
        assert not set(kept) & set(data.corrupt_ids)
    assert len(kept) == 22
    with pytest.raises(InvalidFile, match=r"train/cats/1\.png cannot be read as an image .*skip such files"):
        opened(root, tmp_path / "runs")


def test_jpg_stores_the_same_images_in_less_space(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    for number in range(30):
        for name, colour in (("cats", RED), ("dogs", BLUE)):
            write_image(root / name / f"{number}.png", colour, (50 + number, 60))
    corrupt_image(root / "cats/7.png", "empty")
    datasets = {
        form: dp.open_dataset(
            str(root), image_size=48, holdout=0.3, skip_unreadable=True, image_format=form, workspace=tmp_path / "runs"
        )
        for form in ("raw", "jpg", "jpg:60")
    }
    raw, jpg = datasets["raw"], datasets["jpg"]
    assert jpg.source.endswith("skip-unreadable=true&image-format=jpg:90")
    assert dp.open_dataset(jpg.source, workspace=tmp_path / "runs").fingerprint == jpg.fingerprint
    assert len({data.fingerprint for data in datasets.values()}) == 3
    for one, other in ((raw.train, jpg.train), (raw.test, jpg.test)):
        assert one.images.shape == other.images.shape
        assert one.labels.tolist() == other.labels.tolist()
        assert np.abs(one.images[:].astype(int) - other.images[:]).max() < 12
    assert (raw.train_paths, raw.test_paths, raw.corrupt_ids) == (jpg.train_paths, jpg.test_paths, jpg.corrupt_ids)
    assert raw.channel_stats == jpg.channel_stats == datasets["jpg:60"].channel_stats
    sizes = [next((tmp_path / "runs").rglob(f"{name}/{file}")).stat().st_size for name, file in (
        ("images-pets-48-[0-9a-f]*", "train.npy"), ("images-pets-48-jpg90-*", "train.jpgs"))]  # fmt: skip
    assert sizes[1] < sizes[0] / 5


def test_channel_sums_are_counted_while_decoding_of_readable_images_alone(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    for number in range(1, 12):
        corrupt_image(next((root / "train/cats").glob(f"{number}.*")), "text")
    data = opened(root, tmp_path / "runs", skip_unreadable=True)
    assert data.pixel_sums is not None
    pixels = data.train.images[data.valid_ids].reshape(-1, 3).astype(np.int64)
    assert data.pixel_sums == (tuple(pixels.sum(0)), tuple((pixels**2).sum(0)))
    np.testing.assert_allclose(data.channel_stats, [pixels.mean(0), pixels.std(0)])
    repeated = replace(data, pixel_sums=None)
    assert repeated.channel_stats == data.channel_stats
    assert opened(root, tmp_path / "runs", skip_unreadable=True).pixel_sums == data.pixel_sums


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"channel_sums": 1}, "unknown key 'channel_sums': did you mean"),
        ({"corrupt": [{"id": -1, "name": "x", "reason": "y"}]}, "'corrupt.0.id' is -1"),
        ({"corrupt": [{"id": 24, "name": "x", "reason": "y"}]}, "names images that do not exist"),
        ({"pixel_sums": [[1, 2], [3, 4]]}, "'pixel_sums.0.2' is missing"),
    ],
)
def test_a_broken_manifest_is_refused_with_advice(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    root = make_image_folder(tmp_path / "pets")
    opened(root, tmp_path / "runs")
    path = next((tmp_path / "runs").rglob("train.json"))
    write_json(path, {**read_json(path), **changes})
    with pytest.raises(InvalidFile, match=f"{problem}.*delete .* to have it made again"):
        opened(root, tmp_path / "runs")


def test_the_size_of_jpg_files_is_estimated_beforehand(dprune: Dprune, tmp_path: Path) -> None:
    make_image_folder(tmp_path / "pets", 100, 20)
    command = dprune("score", "--scorer", "random", "--data", "pets", "--image-size", "32", "--image-format", "jpg")
    assert command.code == 0, command.err
    message = re.search(r"folder pets: about ([0-9.]+) kB in all, memory-mapped", command.err)
    assert message is not None, command.err
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*.jpgs")) / 1000
    assert abs(float(message[1]) / kept - 1) < 0.1


def test_a_broken_jpg_cache_is_refused_with_its_name(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    opened(root, tmp_path / "runs", image_format="jpg")
    path = next((tmp_path / "runs").rglob("train.jpgs"))
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(InvalidFile, match=r"train\.jpgs .*delete"):
        opened(root, tmp_path / "runs", image_format="jpg")
    path.write_bytes(content)
    ends = path.with_name("train.ends.npy")
    np.save(ends, np.load(ends)[::-1])
    with pytest.raises(InvalidFile, match=r"train\.jpgs .*delete"):
        opened(root, tmp_path / "runs", image_format="jpg")


def test_a_killed_decoder_leaves_no_file_that_looks_complete(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    expected_images = opened(root, tmp_path / "runs").train.images.copy()
    folder = next((tmp_path / "runs/cache").iterdir())
    (folder / "train.json").unlink()
    (folder / "train.npy").write_bytes(b"half")
    (folder / ".train.npy.abc.part").write_bytes(b"half")
    np.testing.assert_array_equal(opened(root, tmp_path / "runs").train.images, expected_images)
    assert not list(folder.glob(".*.part"))


def test_a_broken_cache_is_refused_with_its_name(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    opened(root, tmp_path / "runs")
    path = next((tmp_path / "runs").rglob("train.npy"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidFile, match=r"train\.npy .*delete"):
        opened(root, tmp_path / "runs")


def test_two_processes_decode_once(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets", 60, 10)
    code = "import sys, datapruning as dp; print(dp.open_dataset(sys.argv[1], image_size=8, workspace=sys.argv[2]).total)"
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "runs")]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == ["120\n", "120\n"]
    assert len(list((tmp_path / "runs").rglob("*.npy"))) == 2


@pytest.mark.parametrize(
    "spec",
    [
        DatasetSpec("photos"),
        DatasetSpec("a?b", 96),
        DatasetSpec("/x y", None, 0.1),
        DatasetSpec("hf:x", 32, 1 / 3, True),
        DatasetSpec("x", None, None, True),
        DatasetSpec("x", 32, None, False, "jpg:85"),
        DatasetSpec("x.npz", layout="nchw", labels_from=1, pixel_range="-1..1", allow_empty_classes=True),
        DatasetSpec("x.npz", labels_from=0, pixel_range="0..0.1"),
        DatasetSpec("digits", corrected_labels="/a b/c.csv"),
    ],
)
def test_dataset_specs_round_trip(spec: DatasetSpec) -> None:
    assert parse_dataset_spec(str(spec)) == spec


def test_an_existing_path_with_a_question_mark_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "what?size=1").mkdir()
    assert not parse_dataset_spec(str(tmp_path / "what?size=1")).options
    with pytest.raises(UnknownName, match="did you mean 'image-size'"):
        parse_dataset_spec("x?imagesize=1")
    with pytest.raises(InvalidValue, match="'big' is not a value of image-size"):
        parse_dataset_spec("x?image-size=big")


def test_a_student_is_trained_from_photographs_and_rerun_from_its_config(dprune: Dprune, tmp_path: Path) -> None:
    make_image_folder(tmp_path / "pets", 20, 6)
    arguments = ["train", "--data", "pets", "--image-size", "8", "--fraction", "0.5", "--kd-weight", "0", *fast_options()]
    command = dprune(*arguments, "--out", "run")
    assert command.code == 0, command.err
    assert "decoding folder pets, train: 40 images to 8x8, 7.7 kB" in command.err
    assert f'data = "{tmp_path / "pets"}?image-size=8"' in (tmp_path / "run/config.toml").read_text()
    shutil.move("run", "moved")
    repeated = dprune("train", "--recipe", "moved/config.toml", "--fraction", "0.5", "--loader", "memory", "--out", "run")
    assert repeated.code == 0, repeated.err
    assert "decoding" not in repeated.err
    first, second = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("moved", "run"))
    assert first["fingerprint"] == second["fingerprint"]
    assert first["test_accuracy"] == second["test_accuracy"]


WORDS = ("score", "--scorer", "random", "--image-size", "8", "--data")


def test_a_missing_folder_is_refused(expect_refusal: ExpectRefusal) -> None:
    assert "folder my/photos is not there" in expect_refusal(*WORDS, "my/photos")
    assert "a folder of images" in expect_refusal(*WORDS[:3], "--data", "photos")


def test_folders_without_images_or_classes_are_refused(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    (tmp_path / "bare/train").mkdir(parents=True)
    (tmp_path / "bare/test").mkdir()
    assert "holds no class folders" in expect_refusal(*WORDS, "bare")
    (tmp_path / "bare/train/cats").mkdir()
    assert "holds no images" in expect_refusal(*WORDS, "bare")
    (tmp_path / "loose").mkdir()
    assert "holds no class folders" in expect_refusal(*WORDS, "loose", "--holdout", "0.1")


def test_an_empty_class_folder_is_named(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    (make_image_folder(tmp_path / "pets") / "train/emus").mkdir()
    assert "class folder pets/train/emus holds no images" in expect_refusal(*WORDS, "pets")


def test_train_and_test_with_different_classes_are_refused(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    write_image(root / "train/emus/1.png", RED)
    assert "train and test have different classes: train alone has emus" in expect_refusal(*WORDS, "pets")
    write_image(root / "test/owls/1.png", RED)
    assert "train alone has emus; test alone has owls" in expect_refusal(*WORDS, "pets")


def test_empty_classes_are_taken_where_they_are_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_image_folder(tmp_path / "pets")
    (root / "train/ants").mkdir()
    write_image(root / "test/owls/1.png", RED)
    with pytest.raises(InvalidFile, match=r"class folder .*ants holds no images") as error_info:
        opened(root, tmp_path / "runs")
    assert error_info.value.parameter == "allow_empty_classes"
    data = opened(root, tmp_path / "runs", allow_empty_classes=True)
    assert data.class_names == ("ants", "cats", "dogs", "owls")
    assert np.bincount(data.train.labels, minlength=4).tolist() == [0, 12, 12, 0]
    assert np.bincount(data.test.labels, minlength=4).tolist() == [0, 4, 4, 1]
    assert data.train_paths is not None
    assert data.train_paths[0].startswith("train/cats/")
    assert "pets: 1 of 4 classes (ants) have no test sample" in capsys.readouterr().err
    assert dp.open_dataset(data.spec, workspace=tmp_path / "runs").fingerprint == data.fingerprint


def test_a_class_of_unreadable_images_has_no_training_sample(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets", 3, 2)
    for path in (root / "train/cats").iterdir():
        corrupt_image(path, "text")
    with pytest.raises(InvalidFile, match=r"1 of 2 classes \(cats\) have no training sample"):
        opened(root, tmp_path / "runs", skip_unreadable=True)
    data = opened(root, tmp_path / "runs", skip_unreadable=True, allow_empty_classes=True)
    assert len(data.valid_ids) == 3


def test_images_of_12_bits_are_read_with_their_range(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, name, number in itertools.product(("train", "test"), ("cats", "dogs"), range(3)):
        path = tmp_path / "scans" / split / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 4096, (8, 8), np.uint16)).save(path)
    answer = refused_after_decoding(expect_refusal, "scans")
    assert "train/cats/0.png cannot be read as an image (its 16-bit pixels reach" in answer
    assert answer.endswith("give the pixel range) (--pixel-range)")
    data = opened(tmp_path / "scans", tmp_path / "runs", pixel_range="0..4095")
    assert data.spec.endswith("image-size=8&pixel-range=0..4095")
    pixels = np.asarray(Image.open(tmp_path / "scans/train/cats/0.png")).astype(int)
    np.testing.assert_array_equal(data.train.images[0, :, :, 0], (pixels * 255 + 2047) // 4095)
    assert dp.open_dataset(data.spec, workspace=tmp_path / "runs").fingerprint == data.fingerprint
    wider = opened(tmp_path / "scans", tmp_path / "runs", pixel_range="0..65535")
    assert wider.train.images.max() == 16
    assert wider.fingerprint != data.fingerprint


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
@pytest.mark.parametrize("name", ["train/cats/3.jpg", "test/dogs/2.bmp"])
def test_an_unreadable_image_is_named(expect_refusal: ExpectRefusal, tmp_path: Path, name: str, damage: str) -> None:
    corrupt_image(make_image_folder(tmp_path / "pets") / name, damage)
    answer = refused_after_decoding(expect_refusal, "pets")
    assert name in answer
    assert "--skip-unreadable" in answer


def refused_after_decoding(expect_refusal: ExpectRefusal, name: str) -> str:
    """Return the line of a refusal after the cost messages, which are silenced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPRUNE_QUIET", "1")
        return expect_refusal(*WORDS, name)


def test_a_broken_link_is_unreadable(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    (make_image_folder(tmp_path / "pets") / "train/cats/lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert "lost.jpg cannot be read as an image (No such file" in refused_after_decoding(expect_refusal, "pets")


def test_skip_unreadable_continues_and_lists_them(dprune: Dprune, tmp_path: Path) -> None:
    corrupt_image(make_image_folder(tmp_path / "pets") / "train/cats/3.jpg", "truncated")
    command = dprune(*WORDS, "pets", "--skip-unreadable")
    assert command.code == 0, command.err
    assert "1 image that cannot be read, never selected: train/cats/3.jpg (" in command.err


def test_a_folder_without_test_images_needs_holdout(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    assert "a holdout is for datasets without one (--holdout)" in expect_refusal(*WORDS, "pets", "--holdout", "0.1")
    shutil.rmtree(root / "test")
    assert "for example 0.1 (--holdout)" in expect_refusal(*WORDS, "pets")
    assert "is not one image" in expect_refusal(*WORDS, "pets", "--holdout", "0.01")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image-size", "2"], "--image-size"),
        (["--image-size", "4096"], "--image-size"),
        (["--holdout", "1"], "--holdout"),
        (["--holdout", "nan"], "--holdout"),
        (["--holdout", "x"], "--holdout"),
        (["--data", "digits", "--image-size", "16"], "digits takes no image-size, which is for datasets of image files"),
        (["--data", "cifar10", "--holdout", "0.1"], "cifar10 takes no holdout"),
        (["--data", "x.npz", "--skip-unreadable"], "x.npz takes no skip-unreadable"),
        (["--data", "pets/", "--layout", "nchw"], "pets/ takes no layout, which is for .npz files (--layout)"),
        (["--data", "x.npz", "--layout", "chw"], "nhwc (channels last) or nchw (channels first); got chw (--layout)"),
        (["--data", "x.npz", "--pixel-range", "1..0"], "LOW..HIGH, the values of black and white, such as 0..1; got 1..0"),
        (["--data", "x.npz", "--pixel-range", "0..inf"], "got 0..inf (--pixel-range)"),
        (["--skip-unreadable"], "name it with --data"),
        (["--labels-from", "0"], "name it with --data (--labels-from)"),
        (["--image-format", "jpg"], "name it with --data"),
        (["--data", "digits", "--image-format", "jpg"], "digits takes no image-format"),
        (["--data", "pets", "--image-format", "png"], "the image format is raw, jpg or jpg:QUALITY"),
        (["--data", "pets", "--image-format", "jpg:101"], "in 30..100; got jpg:101"),
        (["--data", "pets?image-format=jpg:x"], "got jpg:x"),
    ],
)
def test_invalid_image_options_are_refused(expect_refusal: ExpectRefusal, arguments: list[str], message: str) -> None:
    assert message in expect_refusal("score", "--scorer", "random", *arguments)


def test_a_read_only_workspace_is_refused(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    make_image_folder(tmp_path / "pets")
    (tmp_path / "taken").write_text("a file")
    assert "taken" in expect_refusal(*WORDS, "pets", "--workspace", "taken")


def test_a_full_disk_is_reported_before_decoding(
    expect_refusal: ExpectRefusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image_folder(tmp_path / "pets")
    monkeypatch.setattr(
        "datapruning.data.image_folder.decode_cache.shutil.disk_usage", lambda path: SimpleNamespace(free=100)
    )
    assert "6.1 kB are needed, 100 bytes are free" in expect_refusal(*WORDS, "pets")


def test_a_full_disk_leaves_no_file(expect_refusal: ExpectRefusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image_folder(tmp_path / "pets")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("datapruning.data.image_folder.decode_cache.np.lib.format.write_array_header_1_0", full)
    assert "the disk is full (" in refused_after_decoding(expect_refusal, "pets")


def test_a_name_with_a_line_break_is_refused(expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    write_image(make_image_folder(tmp_path / "pets") / "train/cats/a\nb.png", RED)
    assert "has a line break" in expect_refusal(*WORDS, "pets")
