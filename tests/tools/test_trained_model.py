"""A trained network for use: what it takes, what it predicts, how it is evaluated and exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix
from torch import Tensor, nn

import datapruning as dp
from datapruning.data.dataset import Dataset, Split
from datapruning.data.image_folder.decode import decode
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.json import read_json
from datapruning.io.tensors import save_tensors
from datapruning.runs.context import Context
from datapruning.runs.model_file import read_model
from datapruning.tools import export_model as exporting
from datapruning.tools.evaluate_model import Evaluation, make_evaluation
from tests.conftest import CommandResult, fast_options

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
SIDE = 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of several sizes and modes in two classes, which differ in brightness."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data") / "photos"
    for role, count in (("train", 12), ("test", 6)):
        for name, low in (("dark dog", 0), ("light cat", 150)):
            (folder / role / name).mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(SIDE, 40, 2)
                pixels = rng.integers(low, low + 100, (height, width, 3), np.uint8)
                image = Image.fromarray(pixels).convert("L" if number == 0 else "RGB")
                image.save(folder / role / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student on the photos, which sees their middle 16 pixels."""
    folder = tmp_path_factory.mktemp("runs")
    data = dp.open_dataset(str(photos), image_size=SIDE, workspace=folder)
    context = dp.open_context(
        data, recipe="cifar10", device="cpu", loader="memory", workspace=folder, threads=1,
        changes=["train.model=tinynet8", "train.epochs=30", "train.batch_size=8", "views.size=16", "views.crop=0"],
    )  # fmt: skip
    return dp.train(context, fraction=1, kd_weight=0, out=folder / "run").folder


def image_paths(photos: Path) -> list[Path]:
    """The paths of the test images, in the order of their ids."""
    return sorted(photos.glob("test/*/*.png"))


def test_a_file_of_weights_stands_alone(run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copy(run / "model.safetensors", tmp_path / "m.safetensors")
    model = dp.load_model(tmp_path / "m.safetensors", "cpu")
    assert model.class_names == ("dark dog", "light cat")
    assert model.description.shape == (16, 16, 3)
    in_run = dp.load_model(run, "cpu").predict(image_paths(photos))
    assert np.array_equal(model.predict(image_paths(photos)).probabilities, in_run.probabilities)


def test_predictions_are_those_of_the_evaluation_in_training(run: Path, photos: Path, tmp_path: Path) -> None:
    data = dp.open_dataset(str(photos), image_size=SIDE, workspace=tmp_path)
    model = dp.load_model(run, "cpu")
    labels, probabilities = model.predict(image_paths(photos))
    assert 100 * (labels == data.test.labels).mean() == pytest.approx(read_json(run / "result.json")["test_accuracy"])
    assert np.allclose(probabilities.sum(1), 1)
    arrays = model.predict(np.asarray(data.test.images[np.arange(len(data.test))]), batch_size=5)
    assert np.array_equal(arrays.labels, labels)
    assert np.allclose(arrays.probabilities, probabilities, atol=1e-6)


def test_forward_takes_what_the_training_gives_it(run: Path, photos: Path, tmp_path: Path) -> None:
    data = dp.open_dataset(str(photos), image_size=SIDE, workspace=tmp_path)
    model = dp.load_model(run, "cpu")
    images = np.asarray(data.test.images[np.arange(4)])
    mean, std = (np.array(values) for values in data.channel_stats)
    expected = ((images[:, 2:18, 2:18] - mean) / std).transpose(0, 3, 1, 2)
    prepared = model.preprocess(images)
    assert np.allclose(prepared.numpy(), expected, atol=1e-5)
    assert torch.equal(model(prepared), model.network(prepared))


def test_one_image_and_none(run: Path, photos: Path) -> None:
    model, path = dp.load_model(run, "cpu"), image_paths(photos)[0]
    image = decode(path.read_bytes(), SIDE)
    one = model.predict(str(path))
    for images in (image, torch.tensor(image), [path]):
        assert np.array_equal(model.predict(images).probabilities, one.probabilities)
    assert model.predict([]).probabilities.shape == (0, 2)


def test_grey_arrays_and_arrays_of_another_size_are_converted(run: Path) -> None:
    model = dp.load_model(run, "cpu")
    grey = np.full((2, SIDE, SIDE, 1), 200, np.uint8)
    large = np.full((2, 50, 30, 3), 200, np.uint8)
    expected = model.predict(np.full((2, SIDE, SIDE, 3), 200, np.uint8)).probabilities
    assert np.array_equal(model.predict(grey).probabilities, expected)
    assert np.array_equal(model.predict(large).probabilities, expected)


@pytest.mark.parametrize("images", [np.zeros((2, 5, 5, 2), np.uint8), np.zeros((2, 5, 5, 3)), np.zeros((5, 5), np.uint8)])
def test_other_arrays_are_refused(run: Path, images: np.ndarray) -> None:
    with pytest.raises(InvalidValue, match=r"uint8 \[n, height, width, channels\]"):
        dp.load_model(run, "cpu").predict(images)


def test_weights_without_a_description_are_refused(run: Path, tmp_path: Path) -> None:
    weights, _ = read_model(run / "model.safetensors")
    save_tensors(tmp_path / "m.safetensors", weights)
    with pytest.raises(InvalidFile, match="no description of the network"):
        dp.load_model(tmp_path / "m.safetensors", "cpu")
    with pytest.raises(InvalidFile, match="no finished run"):
        dp.load_model(tmp_path, "cpu")


def test_the_command_prints_a_line_an_image(dprune: Dprune, run: Path, photos: Path, tmp_path: Path) -> None:
    name = tmp_path / ("a long name " * 15 + ".png")
    shutil.copy(photos / "test" / "dark dog" / "1.png", name)
    command = dprune("predict", run, name, photos / "test" / "light cat" / "2.png", "--device", "cpu")
    assert command.code == 0, command.err
    lines = [line.split("\t") for line in command.out.splitlines()]
    assert [line[0] for line in lines] == [str(name), str(photos / "test" / "light cat" / "2.png")]
    assert [line[1] for line in lines] == ["dark dog", "light cat"]
    assert all(0.5 < float(line[2]) <= 1 and len(line[2]) == 5 for line in lines)


def test_what_is_no_image_and_no_run_is_refused_in_one_line(
    expect_refusal: ExpectRefusal, run: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert "missing.png is not there" in expect_refusal("predict", run, image_paths(photos)[0], "missing.png")
    assert "broken.png cannot be read as an image" in expect_refusal("predict", run, "broken.png")
    assert "is not there" in expect_refusal("predict", "nothing", image_paths(photos)[0])


def test_evaluation_counts_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    matrix = confusion_matrix(truth, predicted)
    evaluation = make_evaluation("m", ("a", "b", "c"), "d", "test", matrix)
    assert evaluation.accuracy == pytest.approx(100 * accuracy_score(truth, predicted), abs=1e-4)
    assert sum(count for *_, count in evaluation.most_confused) == 200 - matrix.trace()
    assert evaluation.most_confused[0][2] == (matrix - np.diag(matrix.diagonal())).max()
    assert Evaluation(**evaluation.model_dump()) == evaluation


def test_a_run_is_evaluated_on_its_own_dataset_and_on_another(
    dprune: Dprune, expect_refusal: ExpectRefusal, run: Path, photos: Path, tmp_path: Path
) -> None:
    own = dprune("evaluate", run, "--device", "cpu")
    assert own.code == 0, own.err
    accuracy = read_json(run / "result.json")["test_accuracy"]
    assert own.out.startswith(f"{accuracy:.2f}% of 12 test images of photos (95% interval ")
    shutil.copytree(photos / "train" / "light cat", tmp_path / "others" / "train" / "light cat")
    shutil.copytree(photos / "test" / "light cat", tmp_path / "others" / "test" / "light cat")
    for role in ("train", "test"):
        shutil.copytree(photos / role / "dark dog", tmp_path / "others" / role / "dark dog")
    other = dprune("evaluate", run, "--data", "others", "--split", "train", "--out", "e.json", "--device", "cpu")
    assert other.code == 0, other.err
    written = read_json(tmp_path / "e.json")
    assert (written["count"], written["dataset"], written["split"]) == (24, "others", "train")
    assert "e.json exists" in expect_refusal("evaluate", run, "--out", "e.json")
    assert "written as .json" in expect_refusal("evaluate", run, "--out", "e.csv")


def test_classes_are_matched_by_name(run: Path) -> None:
    images = np.concatenate([np.full((3, SIDE, SIDE, 3), value, np.uint8) for value in (240, 10)])
    split = Split(images, np.repeat(np.arange(2), 3))
    swapped = Dataset("swapped", split, split, ("light cat", "dark dog"))
    evaluation = dp.evaluate(run, swapped)
    assert evaluation.accuracy == 100
    assert [entry.name for entry in evaluation.classes] == ["dark dog", "light cat"]
    with pytest.raises(IncompatibleInputs, match="has the class 'horse', which the network does not know"):
        dp.evaluate(run, Dataset("others", split, split, ("light cat", "horse")))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("with_preprocessing", [False, True])
def test_an_exported_network_gives_the_same_logits(
    run: Path, photos: Path, tmp_path: Path, suffix: str, with_preprocessing: bool
) -> None:
    out = tmp_path / f"m{suffix}"
    line = dp.export(run, out, with_preprocessing=with_preprocessing)
    assert "12 test images" in line
    model = dp.load_model(run, "cpu")
    images = np.stack([decode(path.read_bytes(), SIDE) for path in image_paths(photos)[:7]])
    inputs = torch.from_numpy(images) if with_preprocessing else model.preprocess(images)
    with torch.inference_mode():
        expected = model(model.preprocess(images)).numpy()
    assert np.abs(call_exported(out, inputs) - expected).max() < 1e-4


def call_exported(path: Path, inputs: Tensor) -> np.ndarray:
    """The logits of an exported network."""
    if path.suffix == ".pt2":
        with torch.inference_mode():
            return np.asarray(torch.export.load(str(path)).module()(inputs))
    from onnx import load
    from onnx.checker import check_model
    from onnx.reference import ReferenceEvaluator

    program = load(str(path))
    check_model(program)
    assert [value.name for value in program.graph.input] == ["images"]
    assert [value.name for value in program.graph.output] == ["logits"]
    return np.asarray(ReferenceEvaluator(program).run(None, {"images": inputs.numpy()})[0])


def test_weights_are_exported_with_their_description(run: Path, tmp_path: Path) -> None:
    dp.export(run, tmp_path / "m.safetensors")
    weights, description = read_model(tmp_path / "m.safetensors")
    original, same = read_model(run / "model.safetensors")
    assert description == same
    assert all(torch.equal(weights[name], original[name]) for name in original)


def test_an_exported_network_that_differs_is_not_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_write_pt2", lambda network, inputs, path: torch.zeros(len(inputs), 2))
    with pytest.raises(dp.DataPruningError, match="other logits than the network"):
        dp.export(run, tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


class DataDependent(nn.Module):
    """A network whose program depends on the numbers it is given, so that no exporter can write it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Images -> logits."""
        logits: Tensor = self.layer(images.flatten(1))
        return logits if float(logits.detach().sum()) > 0 else -logits


def without_onnx(channels: int, classes: int) -> nn.Module:
    """Make a network with an operator that ONNX lacks."""
    return Eigenvalues()


class Eigenvalues(nn.Module):
    """Adds the eigenvalues of a matrix to the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Images -> logits."""
        logits: Tensor = self.layer(images.flatten(1))
        return logits + torch.linalg.eigvalsh(logits[:, :, None] * logits[:, None, :])


def test_bad_exports_are_refused_in_one_line(
    expect_refusal: ExpectRefusal, run: Path, tmp_path: Path, make_context: Callable[..., Context], digits: Dataset
) -> None:
    for name in ("m.pt", "m.pth", "m"):
        assert "a network is written as .onnx, .pt2 or .safetensors" in expect_refusal("export", run, "--out", name)
    assert "weights have no preprocessing" in expect_refusal("export", run, "--out", "m.safetensors", "--with-preprocessing")
    context = make_context(digits, "train.model=tests.tools.test_trained_model:data_dependent", "train.epochs=1")
    odd = dp.train(context, fraction=0.1, kd_weight=0).folder
    message = expect_refusal("export", odd, "--out", "m.pt2")
    assert "the network tests.tools.test_trained_model:data_dependent cannot be written as .pt2" in message
    context = make_context(digits, "train.model=tests.tools.test_trained_model:without_onnx", "train.epochs=1")
    message = expect_refusal("export", dp.train(context, fraction=0.1, kd_weight=0).folder, "--out", "m.onnx")
    assert "cannot be written as .onnx: No ONNX function found for <OpOverload(op='aten._linalg_eigh'" in message
    assert not list(tmp_path.glob("m.*"))


def data_dependent(channels: int, classes: int) -> nn.Module:
    """Make the network above."""
    return DataDependent()


def test_an_imported_teacher_is_described_by_what_it_was_trained_with(
    make_context: Callable[..., Context], digits: Dataset, tmp_path: Path
) -> None:
    context = make_context(digits, "teacher.epochs=1")
    weights, description = read_model(dp.teach(context).folder / "model.safetensors")
    assert description.mean == digits.channel_stats[0]
    save_tensors(tmp_path / "w.safetensors", weights)
    (tmp_path / "w.json").write_text(
        f'{{"classes": {[*digits.class_names]!r}, "mean": [0.5], "std": [0.25]}}'.replace("'", '"')
    )
    student = dp.train(context, fraction=0.1, kd_weight=0.5, teacher=tmp_path / "w.safetensors", epochs=1)
    imported = dp.load_model(student.result.teacher[0].folder, "cpu").description
    assert (imported.mean, imported.std) == ((127.5,), (63.75,))


def test_the_digits_from_the_command_line(dprune: Dprune, tmp_path: Path) -> None:
    trained = dprune("train", "--fraction", "0.5", "--kd-weight", "0", "--out", "run", *fast_options())
    assert trained.code == 0, trained.err
    evaluated = dprune("evaluate", "run")
    accuracy = read_json(tmp_path / "run" / "result.json")["test_accuracy"]
    assert evaluated.out.splitlines()[0].startswith(f"{accuracy:.2f}% of ")
