"""Recording in an external loop: its recordings are scored like those of the package, and errors are one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import datapruning as dp
from datapruning.api.score import available_scorers
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidValue
from datapruning.evidence.external_loop import LoopRecorder
from datapruning.models.features import penultimate
from datapruning.runs.context import Context
from datapruning.training.evaluate import predict
from tests.helpers.evidence_cases import learning_logits, random_logits, record_dynamics

TOTAL, CLASSES = 30, 4
DYNAMICS = ["aum", "dual", "dyn-unc", "el2n-online", "forgetting", "random", "tdds"]
LOOKS = ["confidence", "entropy", "loss", "margin"]
SHAPES = ["duplicates", "herding", "k-center", "knn", "moderate", "prototypicality"]


def pass_over(recorder: LoopRecorder, epoch: int | None, logits: Any, labels: Any, width: int = 0, batch: int = 7) -> None:
    """Record an epoch, or the final evaluation (None), with features of that width."""
    recorder.start_final_evaluation() if epoch is None else recorder.start_epoch(epoch)
    for ids in torch.randperm(TOTAL, generator=torch.Generator().manual_seed(epoch or 0)).split(batch):
        features = torch.from_numpy(logits[ids].repeat(width, 1)[:, :width]) if width else None
        recorder.update(torch.from_numpy(logits[ids]), torch.from_numpy(labels[ids]), ids, features)
    recorder.end_epoch()


def test_an_external_recording_equals_that_of_the_recorder(tmp_path: Path) -> None:
    logits, labels = learning_logits(4, TOTAL, CLASSES)
    recorder = dp.record(tmp_path / "custom", "custom", total=TOTAL, epochs=4)
    for epoch in range(4):
        pass_over(recorder, epoch, logits[epoch], labels)
    assert recorder.finish(seconds=2.5) == tmp_path / "custom"
    assert not (tmp_path / "custom" / "run-000" / "changes").exists()
    recording = dp.open_recording(tmp_path / "custom")
    np.testing.assert_array_equal(recording.labels(), labels)
    expected, actual = record_dynamics(tmp_path / "plain", logits, labels).train_passes[0], recording.dynamics()
    assert actual.cost.samples_seen == 4 * TOTAL
    assert actual.cost.seconds == 2.5
    for name in expected.statistics:
        np.testing.assert_allclose(actual.train_passes[0][name], expected[name], rtol=1e-5, atol=1e-6)


def test_available_scorers_depend_on_the_recorded_evidence(tmp_path: Path) -> None:
    logits, labels = learning_logits(3, TOTAL, CLASSES)
    kinds: list[tuple[int | None, list[str]]] = [
        (None, DYNAMICS), (0, sorted([*DYNAMICS, *LOOKS])), (6, sorted([*DYNAMICS, *LOOKS, *SHAPES])),
    ]  # fmt: skip
    for width, names in kinds:
        folder = tmp_path / str(width)
        recorder = dp.record(folder, "custom", total=TOTAL, epochs=3)
        for epoch in range(3):
            pass_over(recorder, epoch, logits[epoch], labels)
        if width is not None:
            pass_over(recorder, None, logits[-1], labels, width)
        recorder.finish()
        assert sorted(available_scorers(folder)) == names
        for name in names:
            scores = dp.score_recording(folder, name)
            assert np.isfinite(scores.values).all()
            assert (scores.meta.dataset, scores.meta.total) == ("custom", TOTAL)
    assert len(dp.select(dp.score_recording(folder, "aum"), 0.5)) == TOTAL // 2


def test_the_same_network_gives_the_same_scores_as_the_package_does(
    make_context: Callable[..., Context], small_dataset: Dataset, tmp_path: Path
) -> None:
    """The final evaluation and features of a proxy, recorded through the public interface."""
    context = make_context(small_dataset)
    model = context.new_model("tinynet8", 0)
    recorder = dp.record(tmp_path / "custom", small_dataset, epochs=1)
    for final in (False, True):
        recorder.start_final_evaluation() if final else recorder.start_epoch(0)
        with penultimate(model) as features:
            for ids, labels, logits in predict(
                model, context.loader("train"), np.arange(small_dataset.total), context.views
            ):
                recorder.update(logits, labels, ids, features[0][: len(ids)] if final else None)
        recorder.end_epoch()
    folder = recorder.finish()
    recording = dp.open_recording(folder)
    assert recording.fingerprint == small_dataset.fingerprint
    np.testing.assert_array_equal(recording.labels(), small_dataset.train.labels)
    np.testing.assert_array_equal(recording.stats(0, "final")["margin"], recording.stats(0, "train_passes")["margin"])
    assert recording.features().shape[0] == small_dataset.total
    scores = dp.score_recording(folder, "entropy", out=tmp_path / "s.npz")
    assert len(dp.select(dp.load_scores(tmp_path / "s.npz"), 0.5, data=small_dataset)) == 60
    assert scores.meta.recording == str(folder)


def test_several_runs_share_a_folder_and_are_averaged(tmp_path: Path) -> None:
    item = []
    for run in range(2):
        logits, labels = learning_logits(5, TOTAL, CLASSES, seed=3)
        logits += 0.1 * run
        logits[:, :, 0] += run
        for folder in (tmp_path / "both", tmp_path / str(run)):
            recorder = dp.record(folder, "custom", total=TOTAL, epochs=5, run=run if folder.name == "both" else 0)
            for epoch in range(5):
                pass_over(recorder, epoch, logits[epoch], labels)
            recorder.finish()
        item.append(dp.score_recording(tmp_path / str(run), "aum").values)
    mean_scores = dp.score_recording(tmp_path / "both", "aum").values
    np.testing.assert_allclose(mean_scores, np.mean(item, 0), rtol=1e-5, atol=1e-6)
    assert np.abs(item[0] - item[1]).max() > 0.1


def test_a_killed_external_loop_resumes_to_the_same_bits(tmp_path: Path) -> None:
    logits, labels = learning_logits(7, TOTAL, CLASSES)
    uninterrupted = dp.record(tmp_path / "whole", "custom", total=TOTAL, epochs=7)
    for epoch in range(7):
        pass_over(uninterrupted, epoch, logits[epoch], labels)
    uninterrupted.finish()
    process = dp.record(tmp_path / "killed", "custom", total=TOTAL, epochs=7)
    for epoch in range(5):
        pass_over(process, epoch, logits[epoch], labels)
        if epoch == 2:
            process.saved(epoch)  # the loop's own checkpoint
    process.start_epoch(5)
    process.update(torch.from_numpy(logits[0, :9]), torch.from_numpy(labels[:9]), np.arange(9))  # dies here
    del process
    process = dp.record(tmp_path / "killed", "custom", total=TOTAL, epochs=7)
    for epoch in range(3, 7):
        pass_over(process, epoch, logits[epoch], labels)
    process.finish()
    one, two = (dp.open_recording(tmp_path / name).dynamics().train_passes[0] for name in ("whole", "killed"))
    for name in one.statistics:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_resuming_without_the_previous_predictions_is_refused(tmp_path: Path) -> None:
    logits, labels = learning_logits(5, TOTAL, CLASSES)
    process = dp.record(tmp_path, "custom", total=TOTAL, epochs=5)
    for epoch in range(4):
        pass_over(process, epoch, logits[epoch], labels)
    process = dp.record(tmp_path, "custom", total=TOTAL, epochs=5)
    with pytest.raises(InvalidValue, match="epoch 2 cannot begin: the predictions of epoch 1 are missing"):
        process.start_epoch(2)  # from a checkpoint without a call of `saved`
    pass_over(process, 0, logits[0], labels)


def test_what_is_missing_is_named_by_epoch_and_id(tmp_path: Path) -> None:
    recorder = dp.record(tmp_path, "custom", total=5, epochs=2)
    logits, labels = random_logits(0, 5, 3)
    recorder.start_epoch(0)
    recorder.update(logits, labels, np.arange(5))
    recorder.end_epoch()
    with pytest.raises(InvalidValue, match="5 samples were not recorded in epoch 1, the first is id 0"):
        recorder.finish()
    recorder.start_epoch(1)
    recorder.update(logits[:3], labels[:3], np.array([0, 1, 4]))
    recorder.end_epoch()
    with pytest.raises(InvalidValue, match="2 samples were not recorded in epoch 1, the first is id 2"):
        recorder.finish()
    with pytest.raises(InvalidValue, match=r"no run that was trained to the end.*in your own loop, finish\(\)"):
        dp.score_recording(tmp_path, "aum")
    recorder.start_epoch(1)
    recorder.update(logits, labels, np.arange(5))
    recorder.end_epoch()
    recorder.start_final_evaluation()
    recorder.update(logits[:4], labels[:4], np.arange(4), torch.ones(4, 2))
    recorder.end_epoch()
    with pytest.raises(
        InvalidValue, match="1 samples were not recorded in the pass after the last epoch, the first is id 4"
    ):
        recorder.finish()
    recorder.start_final_evaluation()
    recorder.update(logits[:4], labels[:4], np.arange(4), torch.ones(4, 2))
    recorder.update(logits[4:], labels[4:], np.array([4]))
    recorder.end_epoch()
    with pytest.raises(InvalidValue, match="1 samples came without features, the first is id 4"):
        recorder.finish()


def test_a_label_that_changes_is_named_within_a_run_and_between_runs(tmp_path: Path) -> None:
    logits, labels = random_logits(0, 5, 3)
    other = labels.clone()
    other[3] = (labels[3] + 1) % 3

    def record(run: int, epoch: int, targets: torch.Tensor) -> LoopRecorder:
        recorder = dp.record(tmp_path, "custom", total=5, epochs=2, run=run)
        recorder.start_epoch(epoch)
        recorder.update(logits, targets, np.arange(5))
        recorder.end_epoch()
        return recorder

    record(0, 0, other)
    record(0, 0, labels)  # a first attempt that went wrong is forgotten
    message = rf"sample id 3 has label {other[3]} in epoch 1 but had {labels[3]} before: ids are positions"
    with pytest.raises(InvalidValue, match=message):  # in another process, too
        record(0, 1, other)
    record(0, 1, labels).finish()
    with pytest.raises(InvalidValue, match=rf"sample id 3 has label {other[3]} in epoch 0 but had {labels[3]}"):
        record(1, 0, other)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.ones(5, 2, 1), r"features are \[n, width\] for 5 ids, got \[5, 2, 1\]; flatten or pool them"),
        (torch.ones(4, 2), r"for 5 ids, got \[4, 2\]"),
        (torch.ones(5, 0), r"got \[5, 0\]"),
        (torch.ones(5, 3), "features had 2 numbers a sample before, and have 3 now"),
        (torch.tensor([[1.0], [1], [7e4], [torch.nan], [1]]).repeat(1, 2), r"2 samples are .* beyond what float16 .* id 7"),
    ],
)
def test_features_outside_float16_are_refused(tmp_path: Path, features: torch.Tensor, message: str) -> None:
    recorder = dp.record(tmp_path, "custom", total=10, epochs=1)
    logits, labels = random_logits(0, 5, 3)
    recorder.start_epoch(0)
    with pytest.raises(InvalidValue, match=r"call start_final_evaluation\(\) before it"):
        recorder.update(logits, labels, np.arange(5), torch.ones(5, 2))
    recorder.start_final_evaluation()
    recorder.update(logits, labels, np.arange(5), torch.ones(5, 2))
    with pytest.raises(InvalidValue, match=message):
        recorder.update(logits, labels, np.arange(5, 10), features)


@pytest.mark.parametrize("kind", ["arrays", "lists"])
def test_arrays_and_lists_are_recorded_as_tensors_are(tmp_path: Path, kind: str) -> None:
    def convert(values: Any) -> Any:
        array = np.asarray(values)
        return array if kind == "arrays" else array.tolist()

    values = []
    for name in ("tensors", "others"):
        recorder = dp.record(tmp_path / name, "custom", total=6, epochs=1)
        recorder.start_epoch(0)
        logits, labels = random_logits(0, 6)
        batch = (logits, labels, torch.arange(6))
        recorder.update(*(batch if name == "tensors" else map(convert, batch)))
        recorder.end_epoch()
        recorder.start_final_evaluation()
        final = (*batch, torch.ones(6, 3))
        recorder.update(*(final if name == "tensors" else map(convert, final)))
        recorder.end_epoch()
        recorder.finish()
        values.append(dp.score_recording(tmp_path / name, "loss").values)
    np.testing.assert_array_equal(*values)
    recorder = dp.record(tmp_path / "wrong", "custom", total=6, epochs=1)
    recorder.start_epoch(0)
    with pytest.raises(InvalidValue, match="logits: a tensor or an array of numbers is needed, got list"):
        recorder.update([[1.0], [1.0, 2.0]], [0, 1], [0, 1])


def test_wrong_numbers_and_orders_are_refused(tmp_path: Path, small_dataset: Dataset) -> None:
    with pytest.raises(InvalidValue, match="say how many samples"):
        dp.record(tmp_path, "custom", epochs=2)
    with pytest.raises(InvalidValue, match="generated has 120 training samples; total=7 was given"):
        dp.record(tmp_path, small_dataset, epochs=2, total=7)
    for options in ({"epochs": 0, "total": 4}, {"epochs": 1, "total": 0}, {"epochs": 1, "total": 4, "run": -1}):
        with pytest.raises(InvalidValue, match="at least"):
            dp.record(tmp_path, "custom", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    recorder = dp.record(tmp_path, "custom", epochs=1, total=4)
    with pytest.raises(InvalidValue, match="no epoch has begun"):
        recorder.update(*random_logits(0, 4), np.arange(4))
    for epoch in (-1, 1):
        with pytest.raises(InvalidValue, match=f"epoch {epoch} "):
            recorder.start_epoch(epoch)


def test_a_folder_of_another_recording_or_of_a_complete_run_is_refused(tmp_path: Path, small_dataset: Dataset) -> None:
    recorder = dp.record(tmp_path, "custom", total=4, epochs=1)
    recorder.start_epoch(0)
    recorder.update(*random_logits(0, 4), np.arange(4))
    recorder.end_epoch()
    recorder.finish()
    with pytest.raises(InvalidValue, match=r"has run 0 already, whole; record another run \(run=1\)"):
        dp.record(tmp_path, "custom", total=4, epochs=1)
    dp.record(tmp_path, "custom", total=4, epochs=1, run=1)
    for change, message in [({"epochs": 2}, "epochs 1, not 2"), ({"total": 5}, "total 4, not 5")]:
        with pytest.raises(IncompatibleInputs, match=message):
            dp.record(tmp_path, "custom", **{"total": 4, "epochs": 1, **change})
    with pytest.raises(IncompatibleInputs, match="dataset custom, not yours"):
        dp.record(tmp_path, "yours", total=4, epochs=1)
    with pytest.raises(IncompatibleInputs, match="dataset custom, not generated"):
        dp.record(tmp_path, small_dataset, epochs=1)


def test_scores_of_another_dataset_are_refused(tmp_path: Path, small_dataset: Dataset) -> None:
    recorder = dp.record(tmp_path, "custom", total=small_dataset.total, epochs=1)
    recorder.start_epoch(0)
    recorder.update(*random_logits(0, small_dataset.total), np.arange(small_dataset.total))
    recorder.end_epoch()
    scores = dp.score_recording(recorder.finish(), "aum")
    with pytest.raises(IncompatibleInputs, match=r"made from another dataset: custom .* not from generated"):
        dp.select(scores, 0.5, data=small_dataset)


def test_a_plain_loop_finds_its_wrong_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.randn(200, 6)
    labels = images[:, :3].argmax(1)
    labels[:10] = (labels[:10] + 1) % 3
    loader = DataLoader(TensorDataset(images, labels, torch.arange(200)), batch_size=20, shuffle=True)
    model = torch.nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    recorder = dp.record(tmp_path, "custom", total=200, epochs=5)
    for epoch in range(5):
        recorder.start_epoch(epoch)
        for x, y, ids in loader:
            logits = model(x)
            recorder.update(logits, y, ids)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        recorder.end_epoch()
    order = np.argsort(-dp.score_recording(recorder.finish(), "aum").values)
    assert len(set(order[:20]) & set(range(10))) >= 8  # low margins first
