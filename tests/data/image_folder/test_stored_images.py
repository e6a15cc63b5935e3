"""Lazy images support the same indexing as the array of all images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datapruning.data.dataset import Dataset, Split
from datapruning.data.image_folder.stored_images import ImageFormat, ImageSubset, JpegArchive, LazyImages
from datapruning.data.loaders.split_loaders import InMemoryLoader, MmapLoader
from datapruning.errors import InvalidFile, LoaderError

COUNT, SIZE = 23, 16
CPU = torch.device("cpu")


def smooth(count: int = COUNT) -> np.ndarray:
    rng = np.random.default_rng(0)
    slopes = rng.uniform(-5, 5, (count, 2, 3))
    grid = np.mgrid[:SIZE, :SIZE]
    return (128 + np.einsum("dyx,ndc->nyxc", grid, slopes)).clip(0, 255).astype(np.uint8)


def written(folder: Path, images: np.ndarray, form: ImageFormat) -> Path:
    path = form.path(folder, "train")
    with path.open("wb") as file:
        form.write_header(file, len(images))
        form.write_ends(path, [file.write(form.encode(image)) and file.tell() for image in images])
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[LazyImages, np.ndarray]:
    """Lazy JPEG images, and the images as Pillow encodes and decodes them."""
    form, images = ImageFormat(SIZE, 90), smooth()
    decoded = [np.asarray(Image.open(io.BytesIO(bytes(form.encode(image))))) for image in images]
    return form.open(written(tmp_path_factory.mktemp("jpegs"), images, form)), np.stack(decoded)


def test_a_lazy_array_behaves_like_an_array(stored: tuple[LazyImages, np.ndarray]) -> None:
    images, array = stored
    assert isinstance(images, JpegArchive)
    assert (images.shape, images.dtype, images.ndim, images.nbytes) == (array.shape, array.dtype, array.ndim, array.nbytes)
    assert len(images) == COUNT
    np.testing.assert_array_equal(np.asarray(images), array)
    np.testing.assert_array_equal(np.stack(list(images)), array)  # type: ignore[call-overload]
    assert np.asarray(images, np.int64).dtype == np.int64
    assert np.abs(array.astype(int) - smooth()).mean() < 3


@given(st.lists(st.integers(-COUNT, COUNT - 1), max_size=40))
@settings(max_examples=40)
def test_any_list_of_numbers(stored: tuple[LazyImages, np.ndarray], indices: list[int]) -> None:
    index = np.array(indices, np.int64)
    np.testing.assert_array_equal(stored[0][index], stored[1][index])
    np.testing.assert_array_equal(ImageSubset(stored[0], index % COUNT)[:], stored[1][index])


@pytest.mark.parametrize(
    "index", [0, -1, slice(3, 9), slice(None, None, -4), slice(5, 5), np.arange(COUNT) % 3 == 0, [2, 2]]
)
def test_any_index(stored: tuple[LazyImages, np.ndarray], index: object) -> None:
    np.testing.assert_array_equal(stored[0][index], stored[1][index])  # type: ignore[index]
    chosen = np.arange(COUNT)[::-1]
    np.testing.assert_array_equal(ImageSubset(stored[0], chosen)[index], stored[1][chosen][index])  # type: ignore[index]


def test_an_invalid_index_is_an_index_error(stored: tuple[LazyImages, np.ndarray]) -> None:
    for index in (COUNT, [0, COUNT]):
        with pytest.raises(IndexError):
            stored[0][index]


def test_loaders_give_the_same_bits(stored: tuple[LazyImages, np.ndarray]) -> None:
    labels = np.arange(COUNT) % 3
    lazy, eager = Split(stored[0], labels), Split(stored[1], labels)  # type: ignore[arg-type]
    batches = [np.array([4, 0, 4]), np.arange(COUNT), np.array([], np.int64)]
    for loader in (MmapLoader(lazy, CPU), InMemoryLoader(lazy, CPU), MmapLoader(eager, CPU)):
        assert len(loader) == COUNT
        for batch, ids in zip(loader.read(batches), batches, strict=True):
            np.testing.assert_array_equal(batch.images.numpy(), stored[1][ids])
            np.testing.assert_array_equal(batch.labels.numpy(), labels[ids])
            batch.images.zero_()


def test_a_dataset_of_them_is_like_any_other(stored: tuple[LazyImages, np.ndarray]) -> None:
    labels = np.arange(COUNT) % 3
    both = [
        Dataset("d", Split(images, labels), Split(images[:5], labels[:5]), tuple("abc"), content_hash="x")  # type: ignore[arg-type]
        for images in stored
    ]
    assert both[0].fingerprint == both[1].fingerprint
    assert both[0].channel_stats == both[1].channel_stats


def test_a_damaged_image_is_named_to_the_reader(tmp_path: Path) -> None:
    form = ImageFormat(SIZE, 90)
    path = written(tmp_path, smooth(), form)
    ends = np.load(path.with_suffix(".ends.npy"))
    content = bytearray(path.read_bytes())
    content[int(ends[6]) : int(ends[6]) + 40] = bytes(40)
    path.write_bytes(content)
    images = form.open(path)
    assert images[6].shape == (SIZE, SIZE, 3)
    with pytest.raises(InvalidFile, match=r"train\.jpgs is damaged at image 7; delete"):
        images[np.arange(COUNT)]
    with pytest.raises(LoaderError, match="damaged at image 7"):
        list(MmapLoader(Split(images, np.zeros(COUNT, np.int64)), CPU).read([np.arange(COUNT)]))


@pytest.mark.parametrize("size", [8, 32])
def test_images_of_another_size_are_refused(tmp_path: Path, size: int) -> None:
    path = written(tmp_path, smooth(), ImageFormat(SIZE, 90))
    with pytest.raises(InvalidFile, match="damaged at image 0"):
        ImageFormat(size, 90).open(path)[0]


@pytest.mark.parametrize(
    "ends", [np.array([], np.int64), np.array([5, 5]), np.array([0, 9]), np.array([3.0]), np.array([[3]]), np.array([-4, 9])]
)
def test_invalid_final_evaluations_are_refused(tmp_path: Path, ends: np.ndarray) -> None:
    (tmp_path / "x.jpgs").write_bytes(bytes(9))
    with pytest.raises(InvalidFile, match=r"x\.jpgs"):
        JpegArchive(tmp_path / "x.jpgs", ends, SIZE)
