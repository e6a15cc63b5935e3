"""Which files of a folder are images, which folders are splits, and what is said of the rest."""

from __future__ import annotations

import errno
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import datapruning as dp
from datapruning.data.image_folder.class_files import FolderNotes, walk_images
from datapruning.data.image_folder.decode import decode
from datapruning.data.image_folder.pixel_modes import CorruptImage
from datapruning.data.image_folder.scan import scan_image_folder
from datapruning.data.image_folder.splits import find_splits
from datapruning.errors import InvalidFile
from tests.helpers.image_files import make_image_folder, write_image


def image_bytes(kind: str = "PNG", value: int = 9) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 12), (value, 0, 0)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"), ("TRAIN", "TEST"), ("train", "Valid"), ("training", "validation"), ("train", "dev"),
        ("training_set", "test_set"), ("Train Set", "Val Set"), ("trainset", "testset"), ("train-images", "eval-images"),
        ("seg_train", "seg_test"), ("train_256", "val_256"),
    ],
)  # fmt: skip
def test_splits_are_known_by_every_usual_name(tmp_path: Path, train: str, test: str) -> None:
    root = make_image_folder(tmp_path / "pets")
    (root / "train").rename(root / "was-train")
    (root / "test").rename(root / "was-test")
    (root / "was-train").rename(root / train)
    (root / "was-test").rename(root / test)
    classes, images, test_images = scan_image_folder(root, None)
    assert list(classes) == sorted(path.name for path in (root / train).iterdir())
    assert {name.split("/")[0] for name in images.names} == {train}
    assert {name.split("/")[0] for name in test_images.names} == {test}


def test_two_training_sets_are_refused(tmp_path: Path) -> None:
    for name in ("train", "Training", "test"):
        (tmp_path / name).mkdir()
    with pytest.raises(InvalidFile, match="has Training/ and train/: rename all but one of them"):
        find_splits(tmp_path)


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for name in ("car", "plane", "train"):
        for number in range(3):
            write_image(tmp_path / name / f"{number}.png", (9, 90, 200))
    assert scan_image_folder(tmp_path, 0.3)[0] == ("car", "plane", "train")
    for name in ("seg_train", "old_test"):
        (tmp_path / name).mkdir()
    assert find_splits(tmp_path) == ([], []), "names of splits that are no pair"


def test_a_dataset_one_folder_deeper_is_named(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "archive" / "pets")
    for holdout in (None, 0.3):
        with pytest.raises(
            InvalidFile, match=r"archive has no train and test sets, but \S*archive/pets in it has: name that"
        ):
            scan_image_folder(tmp_path / "archive", holdout)
    make_image_folder(tmp_path / "archive" / "cars")
    with pytest.raises(InvalidFile, match="archive: cars, pets have train and test sets of their own"):
        scan_image_folder(tmp_path / "archive", 0.3)


def test_a_test_set_without_classes_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_image_folder(tmp_path / "pets")
    (root / "test").rename(root / "val")
    write_image(root / "test" / "0.png", (9, 90, 200))
    _, _, test_images = scan_image_folder(root, None)
    assert {name.split("/")[0] for name in test_images.names} == {"val"}
    assert "test/ has no class folders, so val/ is the test set" in capsys.readouterr().err


def test_images_beside_the_class_folders_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_image_folder(tmp_path / "pets")
    for name in ("a.png", "b.JPG", ".hidden.png"):
        (root / "train" / name).write_bytes(image_bytes())
    scan_image_folder(root, None)
    assert "train: 2 images lie beside the class folders, in none of them, and so left out" in capsys.readouterr().err
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(image_bytes())
    with pytest.raises(InvalidFile, match=r"holds no class folders; .* \(its 1 images lie in none\)"):
        scan_image_folder(tmp_path / "flat", 0.5)


@pytest.mark.parametrize(("train", "test"), [("caf\xe9", "cafe\u0301"), ("cat", "Cat"), ("cat", "cat ")])
def test_classes_that_are_only_written_differently_are_named(tmp_path: Path, train: str, test: str) -> None:
    write_image(tmp_path / "train" / train / "0.png", (9, 90, 200))
    write_image(tmp_path / "test" / test / "0.png", (9, 90, 200))
    with pytest.raises(InvalidFile) as error_info:
        scan_image_folder(tmp_path, None)
    assert f"({train!a} and {test!a} differ in case, blanks or the form of Unicode alone)" in str(error_info.value)


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_image_folder(tmp_path / "pets")
    (root / "train" / "cats" / "more").mkdir()
    scandir = os.scandir

    def refuse(path: str | Path = ".") -> Any:
        if str(path).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InvalidFile, match="train/cats/more cannot be read: Permission denied"):
        scan_image_folder(root, None)


def test_content_decides_where_the_ending_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_image_folder(tmp_path / "pets")
    folder = sorted((root / "train").iterdir())[0]
    before = set(scan_image_folder(root, None)[1].names)
    assert capsys.readouterr().err == "", "nothing to say of an ordinary folder"
    for name, kind in (("a.jpg_large", "JPEG"), ("b", "PNG"), ("c.dat", "WEBP"), ("d.image", "BMP")):
        (folder / name).write_bytes(image_bytes(kind))
    for name in ("notes.txt", "more.txt", "x.xyz", "BMx"):
        (folder / name).write_bytes(b"BM no image at all")
    (folder / "picture.txt").write_bytes(image_bytes())
    (folder / ".hidden.png").write_bytes(image_bytes())
    (folder / "._a.png").write_bytes(b"macOS")
    os.mkfifo(folder / "pipe")
    after = set(scan_image_folder(root, None)[1].names)
    added = {f"train/{folder.name}/{name}" for name in ("a.jpg_large", "b", "c.dat", "d.image")}
    assert after == before | added
    messages = capsys.readouterr().err
    assert "6 files (3 .txt, 2 without an ending, 1 .xyz) left out: no images by their ending and content" in messages
    assert "4 files (" in messages
    assert "read as images, by their content: torchvision's ImageFolder leaves them out, so its ids differ" in messages
    assert "1 hidden image is left out: torchvision's ImageFolder counts them" in messages


def test_folders_of_systems_are_no_classes_and_hold_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_image_folder(tmp_path / "pets")
    classes, before, _ = scan_image_folder(root, None)
    for folder in (root / "train" / "__MACOSX", root / "train" / classes[0] / "@eaDir", root / "train" / ".thumbnails"):
        folder.mkdir()
        (folder / "x.png").write_bytes(image_bytes())
    assert scan_image_folder(root, None)[0] == classes
    assert scan_image_folder(root, None)[1].names == before.names
    assert "folders of the system left out: @eaDir, __MACOSX" in capsys.readouterr().err


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "pets")
    path = next(iter(walk_images(root / "train", FolderNotes())))
    Path(path).write_bytes(image_bytes("BMP", 10))
    first = dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "w")
    status = os.stat(path)
    other = tmp_path / "other.bmp"
    other.write_bytes(image_bytes("BMP", 200))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    shutil.move(other, path)
    replaced = os.stat(path)
    assert (replaced.st_size, replaced.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    second = dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "w")
    assert second.fingerprint != first.fingerprint
    assert int(np.abs(np.asarray(second.train.images[:]).astype(int) - first.train.images[:]).max()) == 190


def test_heic_names_the_package_that_reads_it() -> None:
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(CorruptImage, match="pillow-heif"):
        decode(content, 8)
