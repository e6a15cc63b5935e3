"""Teachers from weights files: they become run folders with outputs in the dataset's class order."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, UserError
from datapruning.io.tensors import save_tensors
from datapruning.models import create_model
from datapruning.models.features import last_linear
from datapruning.models.normalization import InputRenormalization
from datapruning.runs.context import Context
from datapruning.runs.weights_file import read_weights
from datapruning.teachers.from_file import import_teacher
from datapruning.teachers.load import Teacher, load_teacher
from datapruning.teachers.prepare import load_teachers
from tests.conftest import fast_options

MakeContext = Callable[..., Context]


@pytest.fixture
def context(make_context: MakeContext, small_dataset: Dataset) -> Context:
    """Make a context on small data with a tinynet8 as the teacher."""
    return make_context(small_dataset, "teacher.model=tinynet8", "train.model=tinynet8")


def network(classes: int = 4, seed: int = 3) -> nn.Module:
    """Make the same network in every call."""
    return create_model("tinynet8", (8, 8, 3), classes, seed).eval()


def load(context: Context, path: Path) -> Teacher:
    """Load a teacher like `--teacher FILE`."""
    [teacher] = load_teachers(context, [path])
    return teacher


def train_images(context: Context) -> Tensor:
    """Return images of the training split, normalised by the dataset's statistics."""
    return context.views.normalise(torch.from_numpy(context.data.train.images[:16]))


def gives(model: nn.Module, images: Tensor) -> Tensor:
    """Return logits."""
    with torch.inference_mode():
        logits: Tensor = model(images)
    return logits


SAVED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "nested": lambda state: {"epoch": 3, "state_dict": state},
    "parallel": lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
}


@pytest.mark.parametrize("wrap", SAVED.values(), ids=SAVED.keys())
def test_a_pth_file_teaches_like_its_network(
    context: Context, tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap(network().state_dict()), path)
    teacher = load(context, path)
    assert torch.equal(gives(teacher.model, train_images(context)), gives(network(), train_images(context)))
    assert teacher.folder.parent == context.workspace / "teachers"
    assert 0 <= teacher.result.test_accuracy <= 100


def test_a_student_with_a_teacher_file_is_reused_and_the_file_is_read_once(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, dict(network().state_dict()))
    first = dp.train(context, fraction=0.5, kd_weight=0.5, teacher=path)
    repeated = dp.train(context, fraction=0.5, kd_weight=0.5, teacher=path)
    assert first.folder == repeated.folder
    assert first.result.teacher[0].model == "tinynet8"
    assert len(list((context.workspace / "teachers").iterdir())) == 1
    folder = Path(first.result.teacher[0].folder)
    assert load_teacher(folder, context.data, context.device).weights_hash == load(context, path).weights_hash


@pytest.mark.parametrize("surplus", [0, 3])
def test_classes_are_reordered_to_the_dataset_s_order(context: Context, tmp_path: Path, surplus: int) -> None:
    """A teacher may have more classes than the dataset."""
    names = [*reversed(context.data.class_names), *(f"other {k}" for k in range(surplus))]
    names = names[1:] + names[:1]
    save_tensors(tmp_path / "w.safetensors", dict(network(len(names)).state_dict()))
    (tmp_path / "w.json").write_text(json.dumps(names))
    logits = gives(load(context, tmp_path / "w.safetensors").model, train_images(context))
    expected = gives(network(len(names)), train_images(context))[:, [names.index(name) for name in context.data.class_names]]
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)


def test_a_network_trained_with_other_means_gets_images_normalised_by_them(context: Context, tmp_path: Path) -> None:
    save_tensors(tmp_path / "w.safetensors", dict(network().state_dict()))
    unnormalised = load(context, tmp_path / "w.safetensors")
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    (tmp_path / "w.json").write_text(json.dumps({"mean": mean, "std": std}))
    teacher = load(context, tmp_path / "w.safetensors")
    images = torch.from_numpy(context.data.train.images[:16])
    own_values = ((images / 255 - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        gives(teacher.model, train_images(context)), gives(network(), own_values), rtol=1e-4, atol=1e-4
    )
    assert teacher.weights_hash != unnormalised.weights_hash, "their soft labels are not the same"
    assert teacher.folder != unnormalised.folder


def test_equal_numbers_give_equal_bits() -> None:
    stats = ([100.0, 90.0], [20.0, 30.0])
    images = torch.randn(3, 2, 4, 4)
    assert torch.equal(InputRenormalization(nn.Identity(), *stats, stats)(images), images)


def state_without(*names: str) -> dict[str, Tensor]:
    """Return the weights of the network with changes."""
    return {name: value for name, value in network().state_dict().items() if name not in names}


def test_weights_that_do_not_fit_are_named(context: Context, tmp_path: Path) -> None:
    complete = network()
    head = next(name for name, module in complete.named_modules() if module is last_linear(complete))
    cases: dict[str, dict[str, Tensor]] = {
        r"weight '0\.weight' is missing \(1 missing, 0 surplus\)": state_without("0.weight"),
        r"weight 'more' is surplus \(0 missing, 1 surplus\)": {**network().state_dict(), "more": torch.zeros(1)},
        r"weight '0\.weight' is missing, 'more' surplus \(1 missing, 1 surplus\)": {
            **state_without("0.weight"), "more": torch.zeros(1),
        },
        rf"weight '{head}\.weight' is \[7, 32\], \[4, 32\] is needed": dict(network(7).state_dict()),
    }  # fmt: skip
    for number, (message, weights) in enumerate(cases.items()):
        save_tensors(tmp_path / f"{number}.safetensors", weights)
        with pytest.raises(InvalidFile, match=message):
            import_teacher(context, tmp_path / f"{number}.safetensors")
    assert not (context.workspace / "teachers").exists()


SAID = {
    "{": (InvalidFile, "cannot be read"),
    "3": (InvalidFile, "a list of class names"),
    '{"class": []}': (InvalidFile, "unknown key 'class': did you mean 'classes'"),
    "[1, 2, 3, 4]": (InvalidFile, r"'classes.0' is 1, but it should be a valid string"),
    '"cats"': (InvalidFile, "a list of class names"),
    '["class 0", "class 0", "class 1", "class 2", "class 3"]': (InvalidFile, "'class 0' is named twice"),
    '["class 0", "class 1", "class 2"]': (IncompatibleInputs, r"does not name class 'class 3' of generated \(1 of 4"),
    '{"mean": [0.5], "std": [0.5]}': (IncompatibleInputs, "each of the 3 channels"),
    '{"mean": [0.5, 0.5, 0.5]}': (IncompatibleInputs, "each of the 3 channels"),
    '{"mean": [0, 0, 0], "std": [1, 1, 0]}': (InvalidFile, "'std.2' is 0, but it should be greater than 0"),
    '{"mean": [0, 0, "a"], "std": [1, 1, 1]}': (InvalidFile, "'mean.2' is 'a', but it should be a valid number"),
}


@pytest.mark.parametrize(("text", "refusal"), SAID.items())
def test_the_metadata_file_is_checked(
    context: Context, tmp_path: Path, text: str, refusal: tuple[type[UserError], str]
) -> None:
    save_tensors(tmp_path / "w.safetensors", dict(network().state_dict()))
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(refusal[0], match=refusal[1]):
        import_teacher(context, tmp_path / "w.safetensors")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trapped"),))


def test_files_without_weights_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    torch.save(Trap(), tmp_path / "trap.pt")
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    for name in ("trap.pth", "trap.pt", "text.pth", "empty.pth", "list.pth", "absent.pth"):
        with pytest.raises(InvalidFile, match=name) as raised:
            read_weights(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "trapped").exists()


def test_the_command_refuses_in_one_line(expect_refusal: Callable[..., str], tmp_path: Path) -> None:
    arguments = ["train", "--fraction", 0.5, *fast_options()]
    assert "absent.pth is not there" in expect_refusal(*arguments, "--teacher", "absent.pth")
    save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(2)})
    assert "'a' surplus" in expect_refusal(*arguments, "--teacher", "w.safetensors")
    np.save(tmp_path / "w.npy", np.zeros(3))
    assert "neither a run folder nor a file of weights" in expect_refusal(*arguments, "--teacher", "w.npy")
