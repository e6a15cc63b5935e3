"""Teachers from weights files: they become run folders with outputs in the dataset's class order."""

from __future__ import annotations

import json
import pickle
import re
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
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.models import create_model
from datapruning.models.features import last_linear
from datapruning.models.normalization import InputRenormalization
from datapruning.runs.context import Context
from datapruning.runs.weight_names import fit_names
from datapruning.runs.weights_file import metadata_path, read_checkpoint_metadata, read_weights
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
    "parallel and compiled": lambda state: prefixed("_orig_mod.module.", state),
    "compiled and parallel": lambda state: prefixed("module._orig_mod.", state),
    "Lightning": lambda state: {
        "state_dict": {**prefixed("model.", state), "criterion.weight": torch.ones(4)}, "hyper_parameters": {"lr": 0.1},
        "pytorch-lightning_version": "2.5", "callbacks": {"best": torch.tensor(0.5)},
    },
    "Lightning, compiled, parallel": lambda state: {"state_dict": prefixed("model._orig_mod.module.", state)},
    "a compiled part": lambda state: {name.replace(".", "._orig_mod.", 1): value for name, value in state.items()},
    "EMA of timm": lambda state: {"state_dict": other_weights(), "state_dict_ema": state},
    "EMA of torchvision": lambda state: {
        "model": other_weights(), "model_ema": {"n_averaged": torch.tensor(9), **prefixed("module.", state)},
    },
    "EMA beside how it was made": lambda state: {
        "model": prefixed("module.", other_weights()), "ema": {"module": prefixed("module.", state), "decay": 0.99},
    },
    "EMA of BasicSR": lambda state: {"params": other_weights(), "params_ema": state},
    "EMA of a Lightning module": lambda state: {
        "state_dict": {**prefixed("model.", other_weights()), **prefixed("ema_model.", state)}
    },
    "without counters": lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
    "profiled": lambda state: {
        **state, "total_ops": torch.zeros(1), **{f"{name.rpartition('.')[0]}.total_params": torch.zeros(1) for name in state}
    },
}  # fmt: skip


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with longer names."""
    return {f"{prefix}{name}": value for name, value in state.items()}


def other_weights() -> dict[str, Tensor]:
    """Return weights of another training of the network."""
    return dict(network(seed=4).state_dict())


@pytest.mark.parametrize("wrap", SAVED.values(), ids=SAVED.keys())
@pytest.mark.parametrize("name", ["weights.pth", "weights.ckpt"])
def test_a_pth_file_teaches_like_its_network(
    context: Context, tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any], name: str
) -> None:
    path = tmp_path / name
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
    '{"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}': (
        InvalidFile,
        "'mean.0' is 123.7, .* less than or equal to 1",
    ),
    '{"mean": [0.5, 0.5, 0.5], "std": [58.4, 57.1, 57.4]}': (InvalidFile, "'std.0' is 58.4, .* less than or equal to 1"),
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


@pytest.mark.parametrize("name", ["w.pth.tar", "w.th", "w.ckpt", "w.bin", "weights", "w.model"])
@pytest.mark.parametrize("legacy", [False, True])
def test_the_content_says_what_is_a_file_of_weights(context: Context, tmp_path: Path, name: str, legacy: bool) -> None:
    state = network().state_dict()
    torch.save({"state_dict": state}, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    names = [*reversed(context.data.class_names)]
    metadata_path(tmp_path / name).write_text(json.dumps(names))
    logits = gives(load(context, tmp_path / name).model, train_images(context))
    torch.testing.assert_close(logits, gives(network(), train_images(context)).flip(1))
    save_tensors(tmp_path / name, dict(state))
    assert read_weights(tmp_path / name).keys() == state.keys(), "safetensors under another ending"


def test_averaged_weights_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(SAVED["EMA of timm"](dict(network().state_dict())), tmp_path / "w.pth")
    read_weights(tmp_path / "w.pth")
    assert "the averaged weights 'state_dict_ema' (EMA) are taken" in capsys.readouterr().err
    saved = SAVED["EMA of a Lightning module"](dict(network().state_dict()))["state_dict"]
    fit_names(saved, network().state_dict(), tmp_path / "w.pth")
    assert re.search(r"weights 'ema_model\.\*' are taken, \d+ others are not \(model\.", capsys.readouterr().err)


def test_averaged_weights_that_are_not_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = dict(network().state_dict())
    torch.save({"model": state, "ema": {"shadow_params": list(state.values()), "decay": 0.99}}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == state.keys()
    assert "'model' is taken; the averaged weights 'ema' are in a form that is not read" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(tmp_path: Path, kind: torch.dtype) -> None:
    state = {name: value.to(kind) if value.ndim > 1 else value for name, value in network().state_dict().items()}
    with pytest.raises(
        InvalidFile, match=rf"weight '0\.weight' is {str(kind).removeprefix('torch.')}; floating-point numbers"
    ):
        fit_names(state, network().state_dict(), tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, name: str) -> None:
    for beginning, kind in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html>", "it is a web page, as a failed download leaves it"),
        (b"\x1f\x8b\x08", "it is compressed by gzip"),
    ):
        (tmp_path / name).write_bytes(beginning)
        with pytest.raises(InvalidFile, match=kind):
            read_weights(tmp_path / name)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": np.zeros(3)}))
    with pytest.raises(InvalidFile, match=r"is not opened \(no file of torch, or cut off\): save model\.state_dict"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"cat": 1, "dog": 0, "emu": 2}', ("dog", "cat", "emu")),
        ('{"0": "dog", "2": "emu", "1": "cat"}', ("dog", "cat", "emu")),
        ('{"cat": 1, "dog": 3}', None),
        ('{"1": "cat", "2": "dog"}', None),
        ("{}", ()),
    ],
)
def test_classes_may_be_given_by_number(tmp_path: Path, text: str, names: tuple[str, ...] | None) -> None:
    (tmp_path / "w.json").write_text(text)
    if names is None:
        with pytest.raises(InvalidFile, match="unknown key"):
            read_checkpoint_metadata(tmp_path / "w.pth")
        return
    assert read_checkpoint_metadata(tmp_path / "w.pth").classes == names


def test_a_network_with_a_wrapper_of_its_own_keeps_its_names() -> None:
    state = prefixed("model.", dict(network().state_dict()))
    assert fit_names(state, state, Path("w.pth")).keys() == state.keys()
    assert fit_names(prefixed("module.", state), state, Path("w.pth")).keys() == state.keys()


def test_the_entry_that_is_refused_is_named(tmp_path: Path) -> None:
    checkpoint = {"epoch": 3, "best_accuracy": np.float64(0.5), "state_dict": dict(network().state_dict())}
    torch.save(checkpoint, tmp_path / "w.pth")
    with pytest.raises(InvalidFile, match=r"its entry 'best_accuracy' is a numpy\S*scalar\): save model.state_dict\(\)"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.weak_teachers
def test_a_teacher_with_another_class_order_stops_the_command_before_the_student(
    dprune: Callable[..., Any], tmp_path: Path
) -> None:
    fast = fast_options()
    taught = dprune("teach", "--data", "digits", *fast, "--set", "teacher.epochs=4", "--out", "t")
    assert taught.code == 0, taught.err
    weights, _ = load_tensors(tmp_path / "t" / "model.safetensors")
    model = json.loads((tmp_path / "t" / "result.json").read_text())["model"]
    order = torch.arange(10).roll(3)
    complete = create_model(model, (8, 8, 1), 10, 0)
    head = next(name for name, module in complete.named_modules() if module is last_linear(complete))
    moved = {name: value[order] if name.rpartition(".")[0] == head else value for name, value in weights.items()}
    torch.save(moved, tmp_path / "w.pth")
    command = ("train", "--data", "digits", "--fraction", "0.5", "--kd-weight", "0.5", "--teacher", "w.pth", *fast)
    refused = dprune(*command, "--out", "s")
    assert refused.code == 2
    line = refused.err.splitlines()[-1]
    assert "list its classes in their order in w.json, check mean and std there" in line
    assert line.endswith("or allow a weak teacher (--allow-weak-teacher)")
    assert not (tmp_path / "s").exists()
    allowed = dprune(*command, "--allow-weak-teacher", "--out", "s")
    assert allowed.code == 0, allowed.err
    (tmp_path / "w.json").write_text(json.dumps([str(number) for number in order.tolist()]))
    ordered = dprune(*command, "--out", "s2")
    assert ordered.code == 0, ordered.err
    own = dprune(*command[: -len(fast) - 1], "t/model.safetensors", *fast, "--out", "s3")
    assert own.code == 0, own.err


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
