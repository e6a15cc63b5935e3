"""Malicious files: bombs, false sizes, pickles, path tricks, and names with terminal control characters."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import datapruning as dp
from datapruning.artifacts.id_lists import read_ids
from datapruning.artifacts.metadata import SubsetMetadata, common_fields
from datapruning.artifacts.scores import load_scores
from datapruning.artifacts.subset import load_subset, subset_from_ids
from datapruning.artifacts.subset_file import subset_from_file
from datapruning.config.recipe import read_recipe
from datapruning.data.dataset import Dataset, Split
from datapruning.data.image_folder.decode import MAX_PIXELS, decode
from datapruning.data.image_folder.pixel_modes import CorruptImage
from datapruning.data.image_folder.scan import scan_image_folder
from datapruning.data.registry import open_dataset
from datapruning.errors import InvalidFile, InvalidValue, UserError, escape_control_chars
from datapruning.io.checksums import verify_checksum
from datapruning.io.json import read_json, write_json
from datapruning.io.npy import open_npy_memmap, read_array
from datapruning.io.npz import write_npz
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.io.text import verify_text
from datapruning.models import create_model
from datapruning.runs.run import Run
from datapruning.runs.weights_file import read_weights
from tests.conftest import CommandResult

GIGA = 2**30


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """Limit memory to one gigabyte more than is in use."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used_bytes + GIGA, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def npy(shape: str, descr: str = "<f4", numbers: bytes = b"") -> bytes:
    """Make a `.npy` with a false header."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + numbers


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive of these members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("shape", "descr", "why"),
    [
        ("(1000000000000,)", "<f4", "4,000,000,000,128 bytes; it has 128"),
        ("(10000000, 10000000, 10000000)", "<f8", "it has 128"),
        ("()", "<U99999999", "it has 128"),
        ("(3,)", "|O", "pickle is never opened"),
        ("(3,)", "<i4,<i4", "of no array of plain numbers"),
        ("(-1,)", "<f4", "of no array"),
        ("(1e3,)", "<f4", "of no array"),
        ("__import__('os').abort()", "<f4", "of no array"),
        ("(" * 60, "<f4", "of no array"),
    ],
)
@pytest.mark.parametrize("read", [read_array, open_npy_memmap])
def test_a_false_header_is_refused_before_allocation(
    tmp_path: Path, read: Callable[[Path], Any], shape: str, descr: str, why: str
) -> None:
    (tmp_path / "a.npy").write_bytes(npy(shape, descr))
    with pytest.raises(ValueError, match=why):
        read(tmp_path / "a.npy")


def test_bytes_behind_the_end_and_short_files_are_refused(tmp_path: Path) -> None:
    for numbers in (bytes(11), bytes(13)):
        (tmp_path / "a.npy").write_bytes(npy("(3,)", numbers=numbers))
        with pytest.raises(ValueError, match=r"says float32 \[3\]"):
            read_array(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(npy("(3,)", numbers=bytes(12)))
    assert read_array(tmp_path / "a.npy").tolist() == [0, 0, 0]


def test_headers_of_other_programs_are_read(tmp_path: Path) -> None:
    head = b'{"descr":"<i2","fortran_order":True,"shape":(2,2)}\n'
    (tmp_path / "a.npy").write_bytes(
        b"\x93NUMPY\x02\x00" + struct.pack("<I", len(head)) + head + bytes([1, 0, 2, 0, 3, 0, 4, 0])
    )
    assert read_array(tmp_path / "a.npy").tolist() == [[1, 3], [2, 4]]
    assert open_npy_memmap(tmp_path / "a.npy").tolist() == [[1, 3], [2, 4]]
    for array in (np.float32(3), np.zeros((0, 4)), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(["ü", ""])):
        np.save(tmp_path / "b.npy", array)
        np.testing.assert_array_equal(read_array(tmp_path / "b.npy"), array)


@pytest.mark.parametrize("load", [load_scores, load_subset, lambda path: open_dataset(str(path))])
def test_zip_bombs_are_refused_by_the_memory_there_is(
    tmp_path: Path, load: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datapruning.io.npy.available_memory", lambda: 10**7)
    zeros = npy("(20000000,)", numbers=bytes(80_000_000))
    names = ("score", "indices", "train_images", "meta")
    path = packed(tmp_path / "bomb.npz", {f"{name}.npy": zeros for name in names})
    assert path.stat().st_size < 400_000
    with pytest.raises(InvalidFile, match=r"it unpacks to 80\.0 MB, and 10\.0 MB of memory are free"):
        load(path)


def test_members_that_lie_about_their_size_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.npz", {"score.npy": npy("(3,)", numbers=bytes(12))}, zipfile.ZIP_STORED)
    archive = path.read_bytes()
    size = struct.pack("<I", 140)
    assert archive.count(size) == 4, "stored and unpacked, in the directory and beside the member"
    offset = archive.rindex(size)
    path.write_bytes(archive[:offset] + struct.pack("<I", 10**9) + archive[offset + 4 :])
    with pytest.raises(InvalidFile, match="says that it unpacks to 1,000,000,000"):
        load_scores(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("score.npy", npy("(3,)", numbers=bytes(12)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("score.npy", npy("(3,)", numbers=bytes(12)))
    with pytest.raises(InvalidFile, match="two members have one name"):
        load_scores(tmp_path / "a.npz")


def test_surplus_members_are_not_read_or_unpacked(tmp_path: Path, small_dataset: Dataset) -> None:
    path = tmp_path / "in" / "s.npz"
    subset_from_ids(np.arange(5), small_dataset, "x").save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../evil.npy", b"no array")
        archive.writestr("/evil.npy", npy("(3,)", "|O"))
    assert load_subset(path).indices.tolist() == [0, 1, 2, 3, 4]
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "s.npz"]


def changed_array(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Rewrite an `.npz` with one array changed and valid zip checksums."""
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, name: change(arrays[name])})


def test_a_repacked_file_with_another_number_is_refused(tmp_path: Path, small_dataset: Dataset) -> None:
    subset, scores = tmp_path / "subset.npz", tmp_path / "scores.npz"
    subset_from_ids(np.arange(0, 20, 2), small_dataset, "x").save(subset)
    dp.score(small_dataset, "random", out=scores)
    changed_array(subset, "indices", lambda a: np.where(a == 4, 5, a))
    changed_array(scores, "score", lambda a: a + 1)
    for load, path in ((load_subset, subset), (load_scores, scores)):
        with pytest.raises(InvalidFile, match="changed since it was written"):
            load(path)
    subset_from_ids(np.arange(0, 20, 2), small_dataset, "x").save(subset)
    changed_array(subset, "meta", lambda a: np.array(str(a).replace('"seed"', '"sead"').replace('"x"', '"y"')))
    with pytest.raises(InvalidFile, match="changed since it was written"):
        load_subset(subset)


def test_files_without_their_checksum_are_refused(tmp_path: Path, small_dataset: Dataset) -> None:
    meta = SubsetMetadata(**common_fields(small_dataset), scorer="x").to_json()
    np.savez(tmp_path / "s.npz", indices=np.arange(3), meta=np.array(json.dumps(meta)))
    (tmp_path / "a.json").write_text('{"a": 1}')
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    (tmp_path / "c.toml").write_text("[run]\n")
    (tmp_path / "i.bin").write_bytes(b"0")
    for read, name in (
        (load_subset, "s.npz"), (read_json, "a.json"), (load_tensors, "w.safetensors"),
        (lambda path: verify_text(path, path.read_text()), "c.toml"),
        (lambda path: verify_checksum(path, "make it"), "i.bin"),
    ):  # fmt: skip
        with pytest.raises(InvalidFile, match=f"{name} has no checksum"):
            read(tmp_path / name)
    assert load_tensors(tmp_path / "w.safetensors", external=True)[0]["a"].tolist() == [1, 1]


def test_numpy_opens_written_files(tmp_path: Path, small_dataset: Dataset) -> None:
    subset_from_ids(np.arange(5), small_dataset, "x").save(tmp_path / "s.npz")
    assert np.load(tmp_path / "s.npz")["indices"].tolist() == [0, 1, 2, 3, 4]


def test_json_that_was_changed_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"accuracy": 91.25, "more": {"1": [1, 2]}})
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(text.replace("91.25", "93.25"))
    with pytest.raises(InvalidFile, match="has another checksum; make it again"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        '{"a": ' * 5000,
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": ' + "9" * 31 + "}",
        '{"a": ' + "[" * 99 + "]" * 99 + "}",
    ],
)
def test_json_that_python_cannot_parse_is_an_invalid_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InvalidFile, match=r"a\.json cannot be read as JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 10**5,
        "a = " + "9" * 5000,
        "[train]\nepochs = 1_000_000_000_000",
        "[train]\nlr = nan",
        "[train]\nlr = " + "9" * 400,
    ],
)
def test_recipes_that_python_cannot_parse_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UserError, match=r"r\.toml"):
        read_recipe(tmp_path / "r.toml")


def test_oversized_text_files_are_not_read(tmp_path: Path) -> None:
    for name, limit, read in (
        ("r.toml", 2**20, read_recipe), ("a.json", 2**28, read_json), ("ids.txt", 2**30, read_ids),
    ):  # fmt: skip
        with (tmp_path / name).open("wb") as file:
            file.truncate(limit + 1)  # holes: no room is taken
        with pytest.raises(InvalidFile, match="at most"):
            read(tmp_path / name)


def test_pipes_and_devices_do_not_block(tmp_path: Path) -> None:
    for name, read in (
        ("s.npz", load_scores),
        ("a.json", read_json),
        ("r.toml", read_recipe),
        ("m.safetensors", load_tensors),
    ):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InvalidFile, match=name):
            read(tmp_path / name)


def test_weights_of_unsupported_types_are_refused(tmp_path: Path) -> None:
    endless = torch.zeros(1).expand(10**6, 10**6)
    for value, reason in (
        (endless, "no plain tensor"), (torch.eye(3).to_sparse(), "no plain tensor"),
        (torch.tensor([1.0, torch.nan]), "NaN or infinite"),
    ):  # fmt: skip
        torch.save({"weight": value}, tmp_path / "net.pth")
        with pytest.raises(InvalidFile, match=reason):
            read_weights(tmp_path / "net.pth")


def test_a_checkpoint_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1000)}, tmp_path / "net.pth")
    content = bytearray((tmp_path / "net.pth").read_bytes())
    content[content.index(struct.pack("<f", 1.0) * 8)] ^= 1  # torch does not verify the archive's checksums
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(InvalidFile, match="CRC"):
        read_weights(tmp_path / "net.pth")
    save_tensors(tmp_path / "net.safetensors", {"weight": torch.ones(1000)})
    content = bytearray((tmp_path / "net.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(InvalidFile, match="changed since it was written"):
        load_tensors(tmp_path / "net.safetensors")


def test_a_malicious_pickle_is_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "pwned",)

    for legacy in (True, False):
        torch.save({"weight": Evil()}, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(InvalidFile, match="not weights alone"):
            read_weights(tmp_path / "net.pth")
    np.savez(tmp_path / "s.npz", score=np.array([Evil()], object), meta="{}")
    with pytest.raises(InvalidFile, match="pickle is never opened"):
        load_scores(tmp_path / "s.npz")
    assert not (tmp_path / "pwned").exists()


def test_a_model_name_from_elsewhere_calls_no_part_of_python() -> None:
    for name in ("os:kill", "subprocess:call", "importlib.util:find_spec"):
        with pytest.raises(InvalidValue, match="is a module of Python"):
            create_model(name, (8, 8, 1), 3, seed=0)


def test_decompression_bombs_and_executable_formats_are_refused() -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    with pytest.raises(CorruptImage, match=r"pixels|bomb"):
        decode(file.getvalue(), 8)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with pytest.raises(CorruptImage, match=f"{MAX_PIXELS:,} at most"):
            decode(file.getvalue(), 8)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    with pytest.raises(CorruptImage, match="not an image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", 8)


def write_images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)
    return folder


def test_symlink_loops_terminate(tmp_path: Path) -> None:
    root = write_images(tmp_path / "pets", *(f"cat/{k}/a.png" for k in range(7)), "dog/a.png", "dog/b.png")
    for k in range(7):
        for other in range(7):
            if other != k:
                (root / "cat" / str(k) / f"to-{other}").symlink_to(root / "cat" / str(other))
    with pytest.raises(InvalidFile, match="in many ways"):
        scan_image_folder(root, 0.5)


def test_a_pipe_in_an_image_folder_does_not_block(tmp_path: Path) -> None:
    root = write_images(
        tmp_path / "pets", *(f"{split}/{name}/{k}.png" for split in ("train", "test") for name in "ab" for k in range(3))
    )
    os.mkfifo(root / "train" / "a" / "pipe.png")
    (root / "train" / "a" / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(InvalidFile, match="no ordinary file"):
        dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "runs")
    data = dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "runs", skip_unreadable=True)
    assert [data.train_paths[i] for i in data.corrupt_ids] == ["train/a/pipe.png", "train/a/zero.png"]  # type: ignore[index]


def test_modified_decoded_images_are_refused(tmp_path: Path) -> None:
    root = write_images(
        tmp_path / "pets", *(f"{split}/{name}/{k}.png" for split in ("train", "test") for name in "ab" for k in range(3))
    )
    dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "runs")
    path = next((tmp_path / "runs").rglob("train.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match="changed since it was written"):
        dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "runs")


@pytest.mark.parametrize(
    "line", ["../../../etc/passwd", "/etc/passwd", "a\0b", "x" * 10**6, "loop/x.png", "\x1b[2Jx", "train\u2028x"]
)
def test_path_lists_cannot_escape_the_folder(tmp_path: Path, line: str) -> None:
    split = Split(np.zeros((2, 4, 4, 3), np.uint8), np.arange(2))
    data = Dataset("pets", split, split, ("a", "b"), str(tmp_path / "pets"), "x", ("a/1.png", "b/1.png"))
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "loop").symlink_to(tmp_path / "pets" / "loop")
    (tmp_path / "list.txt").write_text(f"a/1.png\n{line.replace('loop', str(tmp_path / 'pets' / 'loop'))}\n")
    with pytest.raises(InvalidFile, match=r"line 2: .* is not a training image") as error_info:
        subset_from_file(tmp_path / "list.txt", data)
    assert len(str(error_info.value)) < 1000
    assert str(error_info.value).isprintable()


def test_control_characters_are_escaped(
    tmp_path: Path, small_dataset: Dataset, dprune: Callable[..., CommandResult]
) -> None:
    assert escape_control_chars("\x1b[31mr\u202eed\x07\ud800 ü\n\t") == "\\x1b[31mr\\u202eed\\x07\\ud800 ü\n\t"
    meta = SubsetMetadata(**common_fields(replace(small_dataset, name="a\nb\x07")), scorer="\x1b[2J\u202e").to_json()
    write_npz(tmp_path / "half.npz", {"indices": np.arange(3)}, {**meta, "scorer": "\ud800"})
    with pytest.raises(InvalidFile, match=r"half\.npz"):
        load_subset(tmp_path / "half.npz")
    write_npz(tmp_path / "s.npz", {"indices": np.arange(3)}, meta)
    output = dprune("inspect", tmp_path / "s.npz")
    assert output.code == 0
    assert "\\x1b[2J\\u202e" in output.out
    refused = dprune("train", "--subset", tmp_path / "s.npz", "--fraction", "0.5")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    assert refused.err.strip().isprintable()


def test_a_run_folder_whose_options_were_changed_is_refused(
    tmp_path: Path, small_dataset: Dataset, make_context: Callable[..., Any]
) -> None:
    folder = dp.train(make_context(small_dataset), fraction=0.5, kd_weight=0, out=tmp_path / "run").folder
    path = folder / "config.toml"
    path.write_text(path.read_text().replace("threads = 1", "threads = 2"))
    with pytest.raises(InvalidFile, match=r"config\.toml was changed since it was written"):
        _ = Run(folder).environment
    assert read_recipe(path)[0].train.epochs == 2, "as a recipe it may be changed"
