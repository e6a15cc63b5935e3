"""The readers under test: how a valid file of each kind is written and read, and its content.

Nothing is trained: files are written by the package's own writers from random numbers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from benchmarks.image_modes import CONTAINERS as IMAGE_CONTAINERS
from benchmarks.image_modes import MODES, deviation, encode, make_picture
from datapruning.artifacts.id_lists import read_ids
from datapruning.artifacts.influence import Influence, load_influence
from datapruning.artifacts.label_issues import LabelIssue, LabelIssues, load_label_issues
from datapruning.artifacts.metadata import (
    InfluenceMetadata,
    LabelIssuesMetadata,
    PredProbsMetadata,
    ScoresMetadata,
    common_fields,
)
from datapruning.artifacts.pred_probs import PredProbs
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.artifacts.subset import load_subset, subset_from_ids
from datapruning.artifacts.subset_file import subset_from_file
from datapruning.cli.main import run
from datapruning.config.augmentation import AugmentPolicy
from datapruning.config.ensemble import EnsembleConfig
from datapruning.config.recipe import read_recipe
from datapruning.config.sparsity import SparsityConfig
from datapruning.config.training import TrainConfig
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.dataset import Dataset, Split
from datapruning.data.image_folder.decode import CorruptImage, decode
from datapruning.data.loaders.ffcv import Beton
from datapruning.data.loaders.ffcv_cache import write_beton
from datapruning.data.registry import open_dataset
from datapruning.errors import InvalidFile
from datapruning.evidence.ensemble import Member, read_member, write_member
from datapruning.evidence.manifests import RecordingManifest
from datapruning.evidence.own_embeddings import open_embeddings
from datapruning.evidence.recording import (
    FEATURES,
    LABELS,
    RUNNER_UP,
    Recording,
    create_recording,
    open_recording,
    write_array,
)
from datapruning.evidence.sample_stats import RECORDED
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.io.trial_store import TrialStore
from datapruning.models import create_model
from datapruning.models.weights import hash_weights
from datapruning.runs.metrics import EpochRecord
from datapruning.runs.model_file import ModelDescription, read_model
from datapruning.runs.result import EarlyCheckpoint, RunResult, TeacherResult
from datapruning.runs.run import Run
from datapruning.runs.run_config import Environment, RunOptions
from datapruning.runs.training_records import PrunedLayer, SparsityRecord
from datapruning.runs.weights_file import read_checkpoint_metadata, read_weights
from datapruning.teachers.load import load_teacher
from datapruning.teachers.soft_label_store import ReplayedViews, SoftLabelManifest, SoftLabelStore
from datapruning.teachers.soft_labels import SoftLabelCache
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.sparsity.export import load_sparse, save_sparse
from datapruning.training.sparsity.masks import Masks, load_masks
from datapruning.training.state import TrainState
from datapruning.utils.cost import ComputeCost

ALL, BYTES, NONE = "all", "bytes", "none"


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        name: for people.
        files: those that are changed, one at a time, relative to the folder.
        make: writes valid ones into an empty folder.
        read: reads them, to anything that `content` takes.
        sealed: which changes must be noticed: `ALL`; `BYTES`, where the format has checksums of its bytes that whoever
            packs the file anew makes anew; `NONE`, of lists, recipes and images, which people write themselves.
    """

    name: str
    files: tuple[str, ...]
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    sealed: str = ALL


def content(value: Any) -> str:
    """Return a hash of what a reader returns: arrays, tensors, data classes and plain data."""
    state = hashlib.sha256()
    _add(state, value)
    return state.hexdigest()


def _add(state: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        state.update(f"{value.dtype}{list(value.shape)}".encode())
        state.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray):
        state.update(f"{value.dtype}{list(value.shape)}".encode())
        state.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        _add(state, {field.name: getattr(value, field.name) for field in fields(value)})
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            state.update(f"{key!r}:".encode("utf-8", "surrogatepass"))
            _add(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"[{len(value)}".encode())
        for item in value:
            _add(state, item)
    else:
        state.update(repr(value).encode("utf-8", "surrogatepass"))


def made_up(count: int = 40) -> Dataset:
    """Make random grey images of 8x8 in three classes."""
    rng = np.random.default_rng(0)

    def split(size: int) -> Split:
        return Split(rng.integers(0, 256, (size, 8, 8, 1)).astype(np.uint8), (np.arange(size) % 3).astype(np.int64))

    return Dataset("made-up", split(count), split(count // 2), ("one", "two", "three"))


DATA = made_up()
RNG = np.random.default_rng


def _floats(*shape: int) -> Any:
    return RNG(1).normal(size=shape).astype(np.float32)


def make_scores(folder: Path) -> None:
    meta = ScoresMetadata(**common_fields(DATA), scorer="made-up", sign="as it is", seed=0, unreadable=(3, 5))
    meta = meta.model_copy(update={"class_names": DATA.class_names})
    labels, images = np.arange(40, dtype=np.int32) % 3, np.arange(40, dtype=np.uint64)
    Scores(_floats(40), meta, np.abs(_floats(40)), labels, images).save(folder / "scores.npz")


def make_subset(folder: Path) -> None:
    subset_from_ids(np.arange(0, 40, 3), DATA, "made up").save(folder / "subset.npz")


def make_influence(folder: Path) -> None:
    ids, top = np.arange(6, dtype=np.int64), np.zeros((20, 2), np.int64)
    meta = InfluenceMetadata(
        **common_fields(DATA), tests=20, top=2, pairs="all", least_memorization=0.25, least_influence=0.15, members=4,
        considered=800, num_pairs_found=6, kept=6, expected=0.1, permutations=10, seed=0, source="made up",
        ensemble=EnsembleConfig(), ensemble_member=TrainConfig(), costs=ComputeCost(40, 80, 1.5, 12_000),
    )  # fmt: skip
    numbers = (_floats(6), _floats(6), _floats(6), top, _floats(20, 2), _floats(20, 2), _floats(40))
    Influence(ids, ids, *numbers, meta=meta).save(folder / "influence.npz")


DESCRIPTION = ModelDescription(
    model="tinynet8", class_names=DATA.class_names, image_shape=DATA.train.shape, mean=DATA.channel_stats[0],
    std=DATA.channel_stats[1],
)  # fmt: skip
RESULT = TeacherResult(
    test_accuracy=51.5, model="tinynet8", classes=3, dataset=DATA.name, fingerprint=DATA.fingerprint, samples_seen=80,
    package_version="0", kept=40, total=40, budget="epochs", epochs=2, steps=4, seed=0, device="cpu", threads=1, processes=1,
)  # fmt: skip


def make_probs(folder: Path) -> None:
    meta = PredProbsMetadata(**common_fields(DATA), seed=0, ensemble=EnsembleConfig(), ensemble_member=TrainConfig())
    PredProbs(np.abs(_floats(40, 3)), DATA.train.labels, meta).save(folder / "probs.npz")


def _masks() -> Masks:
    return Masks({"0.weight": _floats(4, 3) > 0})


def make_masks(folder: Path) -> None:
    layer = PrunedLayer(name="0.weight", shape=(4, 3), total=12, kept=5, positions=1)
    record = SparsityRecord(
        settings=SparsityConfig(sparsity=0.5), rounds=1, kept=5, total=12, masks="m", protected=(), flops=24,
        flops_without_zeros=10, layers=(layer,),
    )  # fmt: skip
    _masks().save(folder / "masks.npz", record, ComputeCost(40, 0, 0.5, 7_200))


def _weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(_network().state_dict())


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def make_sparse(folder: Path) -> None:
    weights = _weights()
    weights["0.weight"] = weights["0.weight"] * torch.from_numpy(_masks().tensors["0.weight"])
    save_sparse(folder / "sparse.npz", weights, _masks(), RESULT)


def make_member(folder: Path) -> None:
    inside = np.arange(40) % 3 > 0
    outside = np.abs(_floats(int((~inside).sum()), 3)).astype(np.float16)
    member = Member(
        inside, inside, np.abs(_floats(40)), _floats(40), outside, np.ones(20, bool), ComputeCost(40, 60, 1.5, 10_800)
    )
    write_member(folder / "member.npz", member, 0)


def make_dataset(folder: Path) -> None:
    arrays = {
        f"{role}_{what}": getattr(DATA.split(role), what) for role in ("train", "test") for what in ("images", "labels")
    }
    np.savez_compressed(folder / "data.npz", **arrays, class_names=np.array(DATA.class_names), note=np.arange(3))


def make_ids(folder: Path) -> None:
    np.save(folder / "ids.npy", np.arange(0, 40, 3))
    (folder / "ids.txt").write_text("".join(f"{i}\n" for i in range(0, 40, 3)))
    (folder / "ids.csv").write_text("id,path,kept\n" + "".join(f'{i},"a, {i}.png",{i % 2}\n' for i in range(40)))
    torch.save(torch.arange(0, 40, 3), folder / "ids.pt")


def make_folder(folder: Path) -> None:
    """Make a decoded image folder and a list of paths."""
    for number, (name, row) in enumerate((name, row) for name in ("cat", "dog") for row in range(4)):
        for role in ("train", "test"):
            (folder / "pets" / role / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(DATA.train.images[number, ..., 0]).save(folder / "pets" / role / name / f"{row}.png")
    (folder / "paths.txt").write_text("train/cat/1.png\ntrain/dog/0.png\n./train/dog/../dog/3.png\n")
    open_pets(folder)
    for path in (folder / "runs").rglob("t*.*"):
        path.rename(folder / path.name)
        path.symlink_to(folder / path.name)


def open_pets(folder: Path) -> Dataset:
    return open_dataset(str(folder / "pets"), image_size=8, workspace=folder / "runs")


def read_pets(folder: Path) -> Any:
    data = open_pets(folder)
    return data.train, data.test, data.class_names, data.corrupt_ids


def read_paths(folder: Path) -> Any:
    paths = tuple(f"train/{name}/{row}.png" for name in ("cat", "dog") for row in range(4))
    images = np.zeros((8, 8, 8, 3), np.uint8)
    labels = np.arange(8) // 4
    data = Dataset("pets", Split(images, labels), Split(images, labels), ("cat", "dog"), str(folder / "pets"), "x", paths)
    return subset_from_file(folder / "paths.txt", data).indices


def make_label_issues(folder: Path) -> None:
    rows = tuple(LabelIssue(i, i % 3, "one", (i + 1) % 3, "two", 0.5 - i, 0.1 * i) for i in range(5))
    LabelIssues(rows, LabelIssuesMetadata(**common_fields(DATA), scorer="aum", end="lowest", seed=0)).save(
        folder / "label-issues.csv"
    )


def read_label_issues(folder: Path) -> Any:
    return load_label_issues(folder / "label-issues.csv")


RECIPE = """name = "made-up"
threads = 1
[train]
model = "tinynet8"
epochs = 3
lr = 0.05
schedule = "cosine"
milestones = [0.5, 0.75]
[views]
flip = true
crop = 2
[kd]
search = ["temperature", "views"]
[evidence]
runs = 2
early_epoch = 1
"""


def make_recipe(folder: Path) -> None:
    (folder / "recipe.toml").write_text(RECIPE)


def read_a_recipe(folder: Path) -> Any:
    recipe, options = read_recipe(folder / "recipe.toml")
    return recipe.name, recipe.threads, recipe.to_dict(), options


def make_run(folder: Path) -> None:
    """Make a finished teacher run."""
    path = folder / "run"
    path.mkdir()
    recipe, _ = read_recipe(_written(folder / "recipe.toml", RECIPE))
    model = create_model("tinynet8", DATA.train.shape, 3, seed=0)
    run_folder = Run(path)
    environment = Environment(threads=1, device="cpu", data="made-up", torch="2", loader="memory")
    with run_folder.open(recipe, ("train",), RunOptions(verb="teach", data="made-up"), lambda: environment):
        record = EpochRecord(epoch=0, loss=1.5, train_accuracy=50.0, lr=0.1, step=4, seconds=0.5)
        weights = dict(model.state_dict())
        save_tensors(run_folder.early_checkpoint_path(1), weights)
        early = (EarlyCheckpoint(epoch=1, weights=hash_weights(weights)),)
        run_folder.finish(model, DESCRIPTION, [record], RESULT.model_copy(update={"early": early}))


def read_described_model(folder: Path) -> Any:
    weights, description = read_model(folder / "run" / "model.safetensors")
    return {name: tensor.numpy() for name, tensor in weights.items()}, description.to_json()


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def read_run(folder: Path) -> Any:
    run = Run(folder / "run")
    return run.result(RunResult), run.environment


def read_teacher(folder: Path) -> Any:
    teachers = [load_teacher(folder / "run", DATA, torch.device("cpu"), epoch=epoch) for epoch in (None, 1)]
    return [(teacher.result, teacher.weights_hash, dict(teacher.model.state_dict())) for teacher in teachers]


def make_checkpoint(folder: Path) -> None:
    torch.manual_seed(0)
    model = _network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    Checkpoint(folder / "state.safetensors").save(
        model, optimizer, TrainState(epoch=3, samples_seen=40), {"x": torch.ones(3)}
    )


def read_checkpoint(folder: Path) -> Any:
    model = _network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state = Checkpoint(folder / "state.safetensors").load(model, optimizer)
    return state, dict(model.state_dict())


ROW = {"seed": 0, "fraction": 0.5}
FAILED = {"seed": 1, "fraction": 0.5}


def make_store(folder: Path) -> None:
    store = TrialStore(folder, {"recipe": "made-up"})
    store.run(ROW, lambda config: {"test_accuracy": 51.5, "kept": 20, "more": [1, 2.5, None, "x"]})
    store.record_failure(FAILED, "no good")
    store.path(ROW).rename(folder / "row.json")
    store.path(ROW).symlink_to(folder / "row.json")


def read_store(folder: Path) -> Any:
    store = TrialStore(folder, {"recipe": "made-up"})
    return store.get(ROW), store.failure(FAILED)


def make_foreign(folder: Path) -> None:
    weights = dict(create_model("tinynet8", DATA.train.shape, 3, seed=0).state_dict())
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "net.safetensors")
    torch.save({"state_dict": weights}, folder / "net.pth")
    torch.save(weights, folder / "old.pt", _use_new_zipfile_serialization=False)
    (folder / "map.json").write_text('{"classes": ["one", "two", "three"], "mean": [0.5], "std": [0.25]}')


def read_foreign(folder: Path) -> Any:
    return read_weights(folder / "net.safetensors")


def make_tensors(folder: Path) -> None:
    save_tensors(folder / "model.safetensors", _weights(), {"state": '{"epoch": 1}'})


def make_beton(folder: Path) -> None:
    write_beton(folder / "train.beton", DATA.train, np.arange(12))


def read_beton(folder: Path) -> Any:
    beton = Beton(folder / "train.beton")
    return beton.read(np.arange(len(beton), dtype=np.uint64))


def make_recording(folder: Path) -> None:
    manifest = RecordingManifest(dataset=DATA.name, fingerprint=DATA.fingerprint, total=40, epochs=2, early_epoch=1, seed=0)
    recording = create_recording(folder, manifest)
    write_array(folder / LABELS, DATA.train.labels)
    for track in (recording.stats(0, "train_passes"), recording.stats(0, "early"), recording.stats(0, "final")):
        for name, array in track.arrays.items():
            array[:] = 1 if name == RECORDED else np.abs(_floats(*array.shape))
        track.flush()
    write_array(recording.run_folder(0) / FEATURES, _floats(40, 5).astype(np.float16))
    write_array(recording.run_folder(0) / RUNNER_UP, np.ones(40, np.int32))
    recording.finish_run(0, epochs=2, early=True, final=True, cost=ComputeCost(80, 80, 1.5, 19_200))


def read_recording(folder: Path) -> Any:
    recording: Recording = open_recording(folder)
    tracks = [*recording.dynamics().train_passes, *recording.early_evaluation().early, *recording.final_evaluation().final]
    arrays = [{name: np.array(array) for name, array in track.arrays.items()} for track in tracks]
    features = np.array(recording.embeddings().features)
    return dict(recording.manifest), arrays, features, recording.runner_up_classes(), recording.labels()


def make_embeddings(folder: Path) -> None:
    np.save(folder / "emb.npy", _floats(40, 5))


def read_embeddings(folder: Path) -> Any:
    embeddings = open_embeddings(folder / "emb.npy", 40)
    return np.array(embeddings.features), embeddings.record


def _labels(folder: Path) -> SoftLabelCache:
    teacher: Any = SimpleNamespace(folder=folder, weights_hash="made-up", model=nn.Linear(1, 1))
    views = Augmentation(AugmentPolicy(num_views=2), (100.0,), (50.0,))
    return SoftLabelCache(teacher, views, DATA.fingerprint, 40, 3)


def make_labels(folder: Path) -> None:
    cache = _labels(folder)
    _write_labels(cache.store)
    for path in cache.folder.glob("[!.]*.*"):
        path.rename(folder / path.name)
        path.symlink_to(folder / path.name)


def _write_labels(store: SoftLabelStore) -> None:
    ids, classes = np.arange(40), store.manifest.classes
    store.fill(ids, range(2), lambda missing, view: iter([(missing, torch.from_numpy(_floats(40, classes) + view))]))


def read_labels(folder: Path) -> Any:
    cache, ids = _labels(folder), np.arange(40)
    return [cache[ids, view] for view in range(2)]


TOP_K_LABELS = SoftLabelManifest(
    fingerprint="of a sample: 0", teacher="made-up", views=ReplayedViews(num_views=2), rows=40, total=40, classes=30,
    top_k=3, temperature=4.0, device="cpu",
)  # fmt: skip


def make_top_k_labels(folder: Path) -> None:
    _write_labels(SoftLabelStore(folder, TOP_K_LABELS))


def read_top_k_labels(folder: Path) -> Any:
    store, ids = SoftLabelStore(folder, TOP_K_LABELS), np.arange(40)
    return [store.read(ids, view) for view in range(2)]


def make_checkpoint_files(folder: Path) -> None:
    """Make checkpoints as training frameworks write them: weights among other things, with prefixes, or averaged."""
    weights = dict(create_model("tinynet8", DATA.train.shape, 3, seed=0).state_dict())
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    lightning = {f"model.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 3, "state_dict": lightning, "optimizer_states": [optimizer]}, folder / "lightning.ckpt")
    compiled = {f"module._orig_mod.{name}": value for name, value in weights.items()}
    torch.save({"state_dict": compiled, "state_dict_ema": weights, "arch": "x", "metric": 51.5}, folder / "timm.pth")
    parallel = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"model": parallel, "optimizer": optimizer, "best": True}, folder / "parallel.pth")


def _reads_weights(name: str) -> Callable[[Path], Any]:
    return lambda folder: read_weights(folder / name)


def make_saved_table(folder: Path) -> None:
    """Make a Hugging Face dataset on disk, of images of one colour each."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    with patch("datasets.arrow_dataset.generate_fingerprint", lambda made: "made-up"):  # dill does not hash every pyarrow
        for split in ("train", "test"):
            images = [Image.new("RGB", (8, 8), (20 * number, 0, 9)) for number in range(6)]
            table = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 3}, features=features)
            table.save_to_disk(folder / "table" / split)
    (folder / "table" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}', encoding="utf-8")


def read_saved_table(folder: Path) -> Any:
    data = open_dataset(f"hf:{folder / 'table'}", image_size=8, workspace=folder / "runs")
    return data.train.labels, data.test.labels, data.class_names, np.array(data.train.images), np.array(data.test.images)


CONTAINERS = {
    f"{mode.replace(', ', '-').replace(';', '-')}-{number}.bin": (mode, container)
    for mode in MODES
    for number, container in enumerate(IMAGE_CONTAINERS)
}
"""File of each mode in each container; what is decoded is found out by content."""


@cache
def container_files() -> dict[str, bytes]:
    """The files of all modes and containers that Pillow writes and that are not refused."""
    files = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on writing
        for name, (mode, container) in CONTAINERS.items():
            content = encode(make_picture(mode), container)
            if content is not None and isinstance(deviation(mode, container), int):
                files[name] = content
    return files


def make_containers(folder: Path) -> None:
    for name, content in container_files().items():
        (folder / name).write_bytes(content)


def read_containers(folder: Path) -> Any:
    """Decode the files that were changed; the others are what they were."""
    images = []
    for name, content in container_files().items():
        try:
            changed = (folder / name).read_bytes()
            with warnings.catch_warnings(action="ignore"):  # Pillow's, of odd metadata, as where folders are decoded
                images.append(content if changed == content else decode(changed, 32))
        except CorruptImage as error:
            raise InvalidFile(str(error)) from None
    return images


IMAGE_SUFFIXES = ("jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "jp2", "tga", "pcx")


def make_images(folder: Path) -> None:
    rng = RNG(0)
    smooth = np.add.outer(np.arange(24), np.arange(20))[..., None] * np.array([3, 4, 5]) + rng.integers(0, 9, (24, 20, 3))
    for ending in IMAGE_SUFFIXES:
        Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(folder / f"image.{ending}")


def read_images(folder: Path) -> Any:
    images = []
    for ending in IMAGE_SUFFIXES:
        try:
            images.append(decode((folder / f"image.{ending}").read_bytes(), 16))
        except CorruptImage as error:  # how a image is refused; its caller names the file
            raise InvalidFile(str(error)) from None
    return images


def inspect(folder: Path, name: str) -> str:
    """Return the output of `dprune inspect`; an exit code other than 0 and 2, or more than one line, is a crash.

    Raises:
        InvalidFile: it ended with exit code 2 and one line.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["inspect", str(folder / name)])
    line = err.getvalue()
    out.getvalue().encode()
    if code == 2 and line.startswith("dprune: ") and line.count("\n") == 1 and not out.getvalue() and line.encode():
        raise InvalidFile(line.strip())
    if code != 0 or line:
        raise AssertionError(f"exit code {code}, {len(line.splitlines())} lines: {line[:200]!r}")
    return out.getvalue()


def _inspects(name: str) -> Callable[[Path], Any]:
    return lambda folder: inspect(folder, name)


TRACKS = tuple(
    f"run-000/{name}"
    for name in (
        "train_passes/loss.npy", "train_passes/recorded.npy", "train_passes/correct.npy", "early/error_norm.npy",
        "final/margin.npy", "features.npy", "runner_up.npy", "done.json",
    )
)  # fmt: skip
SAVED_TABLE = (
    "table/dataset_dict.json",
    *(
        f"table/{split}/{name}"
        for split in ("train", "test")
        for name in ("data-00000-of-00001.arrow", "state.json", "dataset_info.json")
    ),
)
HAS_DATASETS = importlib.util.find_spec("datasets") is not None
RUN = ("run/result.json", "run/config.toml")
MODEL = ("run/model.safetensors", "run/early-checkpoints/epoch-0001.safetensors")

READERS = {
    reader.name: reader
    for reader in (
        Reader("scores", ("scores.npz",), make_scores, lambda f: load_scores(f / "scores.npz")),
        Reader("subset", ("subset.npz",), make_subset, lambda f: load_subset(f / "subset.npz")),
        Reader("influence", ("influence.npz",), make_influence, lambda f: load_influence(f / "influence.npz")),
        Reader("masks", ("masks.npz",), make_masks, lambda f: load_masks(f / "masks.npz")),
        Reader("sparse weights", ("sparse.npz",), make_sparse, lambda f: load_sparse(f / "sparse.npz")),
        Reader("ensemble member", ("member.npz",), make_member, lambda f: read_member(f / "member.npz", 40)),
        Reader("run folder", RUN, make_run, read_run),
        Reader("teacher run", (*RUN, *MODEL), make_run, read_teacher),
        Reader("model", MODEL[:1], make_run, read_described_model),
        Reader("checkpoint", ("state.safetensors",), make_checkpoint, read_checkpoint),
        Reader("tensors", ("model.safetensors",), make_tensors, lambda f: load_tensors(f / "model.safetensors")),
        Reader("row store", ("store.json", "row.json"), make_store, read_store),
        Reader("recording", ("recording.json", "labels.npy", *TRACKS), make_recording, read_recording),
        Reader("soft labels", ("logits.npy", "done.npy", "sums.npy", "manifest.json"), make_labels, read_labels),
        Reader("top-k soft labels", ("logits.npy", "classes.npy", "manifest.json"), make_top_k_labels, read_top_k_labels),
        Reader("FFCV cache", ("train.beton", "train.beton.sha256.json"), make_beton, read_beton),
        Reader("decoded images", ("train.npy", "train.json", "test.npy", "test.json"), make_folder, read_pets),
        Reader("inspect scores", ("scores.npz",), make_scores, _inspects("scores.npz")),
        Reader("inspect subset", ("subset.npz",), make_subset, _inspects("subset.npz")),
        Reader("inspect influence", ("influence.npz",), make_influence, _inspects("influence.npz")),
        Reader("inspect probabilities", ("probs.npz",), make_probs, _inspects("probs.npz")),
        Reader("inspect masks", ("masks.npz",), make_masks, _inspects("masks.npz")),
        Reader("inspect run folder", (*RUN, *MODEL), make_run, _inspects("run")),
        Reader("inspect tensors", ("model.safetensors",), make_tensors, _inspects("model.safetensors")),
        Reader("inspect recording", ("recording.json", "labels.npy", *TRACKS), make_recording, _inspects("")),
        Reader("inspect FFCV cache", ("train.beton",), make_beton, _inspects("train.beton")),
        Reader("dataset", ("data.npz",), make_dataset, lambda f: open_dataset(str(f / "data.npz")), BYTES),
        Reader("inspect dataset", ("data.npz",), make_dataset, _inspects("data.npz"), BYTES),
        Reader("teacher .pth", ("net.pth",), make_foreign, lambda f: read_weights(f / "net.pth"), BYTES),
        Reader("teacher, old .pt", ("old.pt",), make_foreign, lambda f: read_weights(f / "old.pt"), NONE),
        Reader("teacher .safetensors", ("net.safetensors",), make_foreign, read_foreign, NONE),
        Reader("teacher .json", ("map.json",), make_foreign, lambda f: read_checkpoint_metadata(f / "map.pth"), NONE),
        Reader("Lightning .ckpt", ("lightning.ckpt",), make_checkpoint_files, _reads_weights("lightning.ckpt"), BYTES),
        Reader("timm .pth", ("timm.pth",), make_checkpoint_files, _reads_weights("timm.pth"), BYTES),
        Reader("parallel .pth", ("parallel.pth",), make_checkpoint_files, _reads_weights("parallel.pth"), BYTES),
        Reader("embeddings .npy", ("emb.npy",), make_embeddings, read_embeddings, NONE),
        Reader("ids .npy", ("ids.npy",), make_ids, lambda f: read_ids(f / "ids.npy"), NONE),
        Reader("ids .txt", ("ids.txt",), make_ids, lambda f: read_ids(f / "ids.txt"), NONE),
        Reader("ids .csv", ("ids.csv",), make_ids, lambda f: read_ids(f / "ids.csv"), NONE),
        Reader("ids .pt", ("ids.pt",), make_ids, lambda f: read_ids(f / "ids.pt"), BYTES),
        Reader("image paths", ("paths.txt",), make_folder, read_paths, NONE),
        Reader("label-issues", ("label-issues.csv", "label-issues.json"), make_label_issues, read_label_issues, NONE),
        Reader("inspect label-issues", ("label-issues.csv", "label-issues.json"), make_label_issues,
        _inspects("label-issues.csv"), NONE),
        Reader("recipe", ("recipe.toml",), make_recipe, read_a_recipe, NONE),
        Reader("images", tuple(f"image.{ending}" for ending in IMAGE_SUFFIXES), make_images, read_images, NONE),
        Reader("image containers", tuple(container_files()), make_containers, read_containers, NONE),
        *([Reader("Hugging Face folder", SAVED_TABLE, make_saved_table, read_saved_table, NONE)] if HAS_DATASETS else []),
    )
}  # fmt: skip
