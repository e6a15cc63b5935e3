"""Run folders, checkpoints, stores of trials and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.fuzz_readers.artifacts import RESULT, network
from benchmarks.fuzz_readers.reader import DATA, NONE, Reader, inspects
from datapruning.config.recipe import read_recipe
from datapruning.io.tensors import save_tensors
from datapruning.io.trial_store import TrialStore
from datapruning.models import create_model
from datapruning.models.weights import hash_weights
from datapruning.runs.metrics import EpochRecord
from datapruning.runs.model_file import ModelDescription, read_model
from datapruning.runs.result import EarlyCheckpoint, RunResult
from datapruning.runs.run import Run
from datapruning.runs.run_config import Environment, RunOptions
from datapruning.teachers.load import load_teacher
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.state import TrainState

DESCRIPTION = ModelDescription(
    model="tinynet8", class_names=DATA.class_names, image_shape=DATA.train.shape, mean=DATA.channel_stats[0],
    std=DATA.channel_stats[1],
)  # fmt: skip


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
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    Checkpoint(folder / "state.safetensors").save(
        model, optimizer, TrainState(epoch=3, samples_seen=40), {"x": torch.ones(3)}
    )


def read_checkpoint(folder: Path) -> Any:
    model = network()
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


RUN = ("run/result.json", "run/config.toml")


MODEL = ("run/model.safetensors", "run/early-checkpoints/epoch-0001.safetensors")


READERS = (
    Reader("run folder", RUN, make_run, read_run),
    Reader("teacher run", (*RUN, *MODEL), make_run, read_teacher),
    Reader("model", MODEL[:1], make_run, read_described_model),
    Reader("checkpoint", ("state.safetensors",), make_checkpoint, read_checkpoint),
    Reader("row store", ("store.json", "row.json"), make_store, read_store),
    Reader("recipe", ("recipe.toml",), make_recipe, read_a_recipe, NONE),
    Reader("inspect run folder", (*RUN, *MODEL), make_run, inspects("run")),
)
