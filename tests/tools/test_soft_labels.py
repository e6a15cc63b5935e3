"""`dp.soft_labels`: teacher and student see the same images, in any process; what cannot be replayed is refused."""

from __future__ import annotations

import multiprocessing
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, get_worker_info

import datapruning as dp
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.json import read_json
from datapruning.runs.context import Context
from datapruning.teachers.load import load_teacher
from datapruning.teachers.soft_labels import SoftLabelCache
from datapruning.utils.system import PROJECT_ROOT

TOTAL, CLASSES = 30, 10
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(TOTAL, 3, 8, 8, generator=GENERATOR)
LABELS = torch.arange(TOTAL) % CLASSES
IDS = np.array([3, 21, 8, 29, 0])


class Augmented(Dataset[Any]):
    """Images that are shifted, brightened and blurred by draws from the three global generators."""

    def __len__(self) -> int:
        return TOTAL

    def __getitem__(self, index: int) -> Any:
        shifted = IMAGES[index].roll(int(torch.randint(0, 8, ())), 2)
        return shifted * (1 + random.random()) + np.random.rand(), int(LABELS[index])  # noqa: NPY002


class Transformed(Augmented):
    """An item after a function of it."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def __getitem__(self, index: int) -> Any:
        return self.transform(super().__getitem__(index))


def make_teacher(inputs: int = 3 * 8 * 8, classes: int = CLASSES, seed: int = 0) -> nn.Module:
    """A linear network with its weights drawn from a seed, in training mode, with dropout."""
    layer = nn.Linear(inputs, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(seed)) / 10)
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), layer)


class WithLogits(nn.Module):
    """A teacher that changes what it returns."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network, self.change = make_teacher(), change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.network(images))


@pytest.fixture
def label(tmp_path: Path) -> Callable[..., dp.SoftLabels]:
    """`dp.soft_labels` in a temporary workspace, of the augmented images unless others are given."""

    def call(teacher: Any = None, dataset: Any = None, ids: Any = IDS, **settings: Any) -> dp.SoftLabels:
        settings = {"num_views": 3, "batch_size": 8, "workspace": tmp_path, **settings}
        return dp.soft_labels(teacher or make_teacher(), dataset or Augmented(), ids, **settings)

    return call


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, True)])
def test_student_and_teacher_see_the_same_images(label: Any, num_workers: int, persistent: bool) -> None:
    teacher = make_teacher()
    labels = label(teacher, num_workers=num_workers)
    assert teacher[1].training, "the mode is put back"
    teacher.eval()
    train = labels.dataset()
    loader = DataLoader(train, 2, num_workers=num_workers, persistent_workers=persistent)
    by_view = []
    for epoch in range(4):
        train.set_epoch(epoch)
        batches = [torch.cat(parts) for parts in zip(*loader, strict=True)]
        images, targets, ids, logits = batches
        torch.testing.assert_close(teacher(images), logits, rtol=2e-3, atol=2e-3)
        assert torch.equal(logits, labels[ids, epoch])
        assert np.array_equal(ids, IDS)
        assert torch.equal(targets, LABELS[ids])
        by_view.append(images)
    assert torch.equal(by_view[0], by_view[3])
    assert not torch.equal(by_view[0], by_view[1])


def test_other_random_draws_are_not_changed_and_do_not_matter(label: Any) -> None:
    teacher = make_teacher()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    labels = label(teacher, num_workers=1)
    first = [item[0] for item in labels.dataset()]
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1], states[2]) == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    torch.rand(7), random.random()
    assert all(map(torch.equal, first, [item[0] for item in labels.dataset()]))


def test_labels_are_shared_and_only_missing_ones_are_computed(label: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = label(ids=IDS[:2])
    capsys.readouterr()
    second = label()
    assert "9 of 15 are missing" in capsys.readouterr().err
    assert first.folder == second.folder
    assert f"used those in {second.folder}" in (label(), capsys.readouterr().err)[1]
    assert label(seed=1).folder != label(num_views=2).folder != second.folder
    assert label(make_teacher(seed=1)).folder != second.folder
    bare = TensorDataset(IMAGES, LABELS)
    assert label(dataset=bare).folder != second.folder
    assert "num_views=1 gives the same labels" in capsys.readouterr().err


def test_a_killed_call_resumes(label: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datapruning.teachers.soft_label_store.FLUSH_SECONDS", 0.0)
    ids, reads = np.arange(TOTAL), []

    def stop_at(item: Any) -> Any:
        reads.append(1)
        if len(reads) == 60:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        label(dataset=Transformed(stop_at), ids=ids)
    resumed = label(dataset=Transformed(lambda item: item), ids=ids)
    computed = read_json(resumed.folder / "stats.json")["computed"]
    assert 0 < computed < 3 * TOTAL
    at_once = label(ids=ids, workspace=tmp_path / "other")
    assert all(torch.equal(at_once[ids, view], resumed[ids, view]) for view in range(3))


def _fill(workspace: Path) -> None:
    dp.soft_labels(make_teacher(), Augmented(), num_views=3, batch_size=8, workspace=workspace)


def test_processes_share_the_work(tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=_fill, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    (stats,) = tmp_path.rglob("stats.json")
    assert read_json(stats)["computed"] == 3 * TOTAL


def test_items_may_be_dictionaries_or_bare_images(label: Any) -> None:
    dictionary = Transformed(lambda item: {"pixel_values": item[0], "labels": item[1]})
    item = label(dataset=dictionary, image_key="pixel_values").dataset()[1]
    assert list(item) == ["pixel_values", "labels", "sample_id", "teacher_logits"]
    assert item["sample_id"] == 21
    image, sample_id, logits = label(dataset=Transformed(lambda item: item[0])).dataset()[1]
    assert (image.shape, sample_id, logits.shape) == ((3, 8, 8), 21, (CLASSES,))
    with pytest.raises(IncompatibleInputs, match=r"no image at 0, but 'pixel_values', 'labels': set image_key"):
        label(dataset=dictionary)
    with pytest.raises(IncompatibleInputs, match="items are 2 values without an image at 2"):
        label(image_key=2)


def test_a_teacher_may_return_an_object_with_logits(label: Any) -> None:
    class Output:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    assert torch.equal(label(WithLogits(Output))[IDS, 0], label(WithLogits(lambda x: x))[IDS, 0])


def test_top_k_labels_are_exact_for_the_kept_classes_at_their_temperature(label: Any) -> None:
    full, top = label()[IDS, 1], label(top_k=3, temperature=2.0)[IDS, 1]
    kept = full.topk(3, 1).indices
    probs, stored = (torch.softmax(logits / 2, 1).gather(1, kept) for logits in (full, top))
    torch.testing.assert_close(stored, probs, rtol=1e-3, atol=1e-4)
    for k in (0, CLASSES):
        with pytest.raises(InvalidValue, match="top_k is a number of the 10 classes"):
            label(top_k=k)


@pytest.mark.parametrize("top_k", [None, 4])
def test_the_reader_of_the_documentation_reads_them(label: Any, top_k: int | None) -> None:
    page = (PROJECT_ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?class SoftLabelReader.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "files.md", "exec"), names)
    assert "datapruning" not in block
    labels = label(top_k=top_k, seed=5)
    ours, theirs = labels.dataset(), names["SoftLabelReader"](labels.folder, Augmented(), IDS)
    for epoch in range(3):
        ours.set_epoch(epoch)
        theirs.epoch = epoch
        for number in range(len(IDS)):
            for value, other in zip(ours[number], theirs[number], strict=True):
                assert torch.equal(value, other) if isinstance(value, Tensor) else value == other


def test_our_augmentation_gives_the_labels_of_our_own_training(make_context: Callable[..., Context], tmp_path: Path) -> None:
    data = dp.open_dataset("digits")
    context = make_context(data, "teacher.epochs=1", "views.num_views=2")
    run, ids = dp.teach(context), np.arange(0, 400, 3)
    teacher = load_teacher(run.folder, data, context.device)
    cache = SoftLabelCache(teacher, context.views, data.fingerprint, data.total, data.classes)
    cache.fill(context.loader("train"), ids, range(2))
    dataset = TensorDataset(torch.from_numpy(data.train.images), torch.from_numpy(data.train.labels))
    labels = dp.soft_labels(
        run.folder, dataset, ids, num_views=2, augmentation=context.views, batch_size=256, workspace=tmp_path
    )
    train = labels.dataset()
    for epoch in range(2):
        assert torch.equal(labels[ids, epoch], cache[ids, epoch])
        train.set_epoch(epoch)
        images = torch.stack([item[0] for item in train.__getitems__([1, 0])])
        expected = context.views.apply(dataset.tensors[0][ids[[1, 0]]], ids[[1, 0]], epoch)
        assert torch.equal(images, expected)
    with pytest.raises(IncompatibleInputs, match=r"takes uint8 images .* the dataset has float32 \[3, 8, 8\]"):
        dp.soft_labels(run.folder, Augmented(), augmentation=context.views, workspace=tmp_path)


class Noise:
    """A transform with its own generator."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, item: Any) -> Any:
        return item[0] + self.rng.random(), item[1]


class Counter:
    """A transform that counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, item: Any) -> Any:
        self.calls += 1
        return item[0] + self.calls, item[1]


def by_worker(item: Any) -> Any:
    """A transform that does something else in a worker."""
    return item[0] + (get_worker_info() is not None), item[1]


@pytest.mark.parametrize(
    ("transform", "why"),
    [
        (Noise(), r"generator of its own, dataset\.transform\.rng \(numpy's Generator\)"),
        (Counter(), "depends on more than the sample and the global random generators"),
        (by_worker, "in a worker of a DataLoader it depends on more"),
    ],
)
def test_augmentation_that_cannot_be_replayed_is_refused(label: Any, transform: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=rf"cannot be replayed: sample id \d+ in view \d is another image .*{why}"):
        label(dataset=Transformed(transform), num_workers=1)
    assert not list(tmp_path.iterdir())


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"teacher": make_teacher(inputs=100)}, IncompatibleInputs, r"does not take images float32 \[8, 3, 8, 8\]: .*mat1 and"),
    ({"teacher": WithLogits(lambda x: (x, x))}, IncompatibleInputs, r"returns tuple for 8 images; logits \[n, classes\]"),
    ({"teacher": WithLogits(lambda x: x.mean(1))}, IncompatibleInputs, r"returns \[8\] for 8 images"),
    ({"teacher": WithLogits(lambda x: x * float("nan"))}, InvalidValue, r"logits of sample id \d+ in view 0 are NaN"),
    ({"teacher": make_teacher(classes=7)}, IncompatibleInputs, "gives 7 logits, and the dataset has a label"),
    ({"dataset": Transformed(lambda item: (Image.new("L", (8, 8)), 1))}, IncompatibleInputs, "images are Image, .*ToTensor"),
    ({"dataset": iter([1])}, IncompatibleInputs, "a map-style dataset"),
    ({"dataset": Transformed(lambda item: (item[0][:, : 4 + item[1] % 2], 1))}, IncompatibleInputs, "several shapes"),
    ({"ids": [0, TOTAL]}, InvalidValue, r"sample id 30 is not in the dataset, which has 0\.\.29"),
    ({"ids": np.ones(TOTAL, bool)}, InvalidValue, "whole numbers .*got bool"),
    ({"num_views": 0}, InvalidValue, "num_views is at least 1; got 0"),
    ({"temperature": 0.0, "top_k": 3}, InvalidValue, "temperature is a number above 0"),
    ({"teacher": "absent"}, InvalidFile, "absent"),
]


@pytest.mark.parametrize(("settings", "error", "message"), WRONG, ids=[message[:25] for _, _, message in WRONG])
def test_what_does_not_fit_is_refused_in_one_line(label: Any, settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as refusal:
        label(**settings)
    assert "\n" not in str(refusal.value)


def test_classes_that_the_dataset_names_are_compared(label: Any) -> None:
    dataset = Augmented()
    dataset.classes = ["cat", "dog"]  # type: ignore[attr-defined]
    with pytest.raises(IncompatibleInputs, match="gives 10 logits, and the dataset has 2 classes"):
        label(dataset=dataset)


def test_ids_without_labels_are_refused(label: Any) -> None:
    labels = label()
    assert len(labels.dataset([8, 3])) == 2
    with pytest.raises(InvalidValue, match="2 of 3 ids have no soft label, the first is 4: pass all ids to soft_labels"):
        labels.dataset([3, 4, 5])
    with pytest.raises(InvalidValue, match="no soft label for sample id 4 in view 0"):
        labels[np.array([4]), 0]
    with pytest.raises(InvalidValue, match="sample id -1 is not in the dataset"):
        labels[np.array([-1]), 0]


def test_another_network_with_the_same_weights_is_refused(label: Any) -> None:
    label(WithLogits(lambda x: x))
    label(WithLogits(lambda x: x + 1e-4))
    with pytest.raises(IncompatibleInputs, match="has other logits of sample id 0 in view 0 than the teacher gives now"):
        label(WithLogits(torch.relu))
