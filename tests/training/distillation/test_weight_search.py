"""`dp.WeightSearch`: the search in a training loop of a user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import datapruning as dp
from datapruning.errors import IncompatibleInputs, InvalidFile, UserError
from datapruning.runs.training_records import Candidate
from datapruning.training.distillation.logit_array import LogitArray
from datapruning.training.distillation.prior import measure_regime
from datapruning.training.distillation.training_steps import TrainingSteps

CLASSES, TOTAL = 5, 400
LABELS = np.arange(TOTAL) % CLASSES
KEPT = np.arange(0, TOTAL, 2)
TEACHER = 6.0 * np.eye(CLASSES, dtype=np.float32)[LABELS]
VALIDATION = np.arange(600) % CLASSES
HARDNESS = np.random.default_rng(0).random(600)


def search_with(**options: Any) -> dp.WeightSearch:
    """A search on half of 400 samples."""
    return dp.WeightSearch(TEACHER, LABELS, KEPT, **{"num_steps": 200, "batch_size": 20, **options})


class Loop:
    """A training loop whose state is its history, and whose accuracy is a function of the last candidate."""

    def __init__(self, accuracy: Callable[[Candidate], float]) -> None:
        self.accuracy = accuracy
        self.calls: list[tuple[Candidate, Any, TrainingSteps]] = []

    def train(self, candidate: Candidate, state: Any, steps: TrainingSteps) -> Any:
        self.calls.append((candidate, None if state is None else list(state), steps))
        state = [] if state is None else state
        state.append(candidate)
        return state

    def evaluate(self, state: Any) -> NDArray[np.float64]:
        correct = self.accuracy(state[-1]) > HARDNESS
        return np.eye(CLASSES)[(VALIDATION + ~correct) % CLASSES]


def test_the_prefix_is_trained_once_and_every_probe_begins_at_its_end() -> None:
    loop = Loop(lambda candidate: 0.7 + 0.1 * candidate.weight)
    search = search_with(search_start=0.25)
    decision = search.run(loop.train, loop.evaluate, VALIDATION)
    (initial, state, prefix), *probes = loop.calls
    assert (state, prefix) == (None, TrainingSteps(0, 50))
    assert initial == decision.proposed == search.proposal.initial
    assert [probe.candidate for probe in decision.probes] == [candidate for candidate, _, _ in probes]
    assert {steps for _, _, steps in probes} == {search.probe(len(VALIDATION))}
    assert all(state == [initial] and steps.start == 50 and steps.is_probe for _, state, steps in probes)
    assert any(candidate.labels_only for candidate, _, _ in probes)
    assert decision.state == [initial], "train changes the states that it is given; copies of it"
    assert decision.remaining == TrainingSteps(50, 200)
    assert decision.predicted[decision.chosen] == max(decision.predicted.values())
    assert set(decision.predicted) == set(search.proposal.space)
    assert 0 < decision.cost <= search.cost(len(VALIDATION)) <= 0.75


@pytest.mark.parametrize(
    ("accuracy", "weight"), [(lambda c: 0.9 - 0.4 * c.weight, 0.0), (lambda c: 0.3 + 0.6 * c.weight, 1.0)]
)
def test_what_is_clearly_better_is_chosen(accuracy: Callable[[Candidate], float], weight: float) -> None:
    loop = Loop(accuracy)
    decision = search_with().run(loop.train, loop.evaluate, VALIDATION)
    assert decision.chosen.weight == weight
    assert ("instead of" in str(decision)) == (decision.chosen != decision.proposed)
    measured = {probe.candidate: probe.accuracy for probe in decision.probes}
    assert decision.predicted[decision.chosen] == pytest.approx(measured[decision.chosen], abs=3)


def test_what_the_loop_cannot_do_is_no_candidate() -> None:
    space = search_with(temperatures=[3.0]).proposal.space
    assert {(c.temperature, c.augmentation, c.teacher) for c in space if c.weight} == {(3.0, "recipe", 0)}
    space = search_with(augmentations=("recipe", "cutmix"), teacher_ages=(1.0, 0.5)).proposal.space
    assert {(c.augmentation, c.teacher) for c in space if c.weight} == {
        (augmentation, teacher) for augmentation in ("recipe", "cutmix") for teacher in (0, 1)
    }  # fmt: skip


def test_the_regime_is_that_of_our_own_search() -> None:
    noisy = torch.from_numpy(TEACHER) + torch.randn(TOTAL, CLASSES, generator=torch.Generator().manual_seed(0)) * 4
    expected = measure_regime(LogitArray(noisy), LABELS, KEPT, 20, CLASSES)
    assert dp.WeightSearch(noisy, LABELS, KEPT, num_steps=200, batch_size=20).proposal.regime == expected
    assert expected.agreement < 1


def test_soft_labels_of_any_dataset_will_do(tmp_path: Path) -> None:
    data = torch.utils.data.TensorDataset(torch.randn(60, 4), torch.arange(60) % CLASSES)
    teacher = torch.nn.Linear(4, CLASSES)
    ids = np.arange(0, 60, 3)
    soft = dp.soft_labels(teacher, data, ids, num_views=1, workspace=tmp_path)
    searches = [
        dp.WeightSearch(labels, np.arange(60) % CLASSES, ids, num_steps=20, batch_size=5)
        for labels in (soft, teacher(data.tensors[0]).to(torch.float16).float())
    ]
    regimes = [search.proposal.regime for search in searches]
    assert regimes[0].agreement == regimes[1].agreement
    assert regimes[0].confidence == pytest.approx(regimes[1].confidence, abs=1e-4)


def test_the_learning_rate_of_a_probe_falls_to_zero_from_that_of_the_run() -> None:
    probe, run = TrainingSteps(10, 14, is_probe=True), TrainingSteps(10, 14)
    assert [probe.learning_rate(lambda step: 80 / step, step) for step in probe] == [7.0, 5.0, 3.0, 1.0]
    assert [run.learning_rate(float, step) for step in run] == [10.0, 11.0, 12.0, 13.0]


def test_validation_samples_fit_the_budget_and_are_not_kept_ones_of_a_random_subset() -> None:
    search = search_with()
    validation = search.choose_validation_set(subset_is_random=True)
    assert not np.isin(validation.ids, KEPT).any()
    assert search.cost(len(validation.ids)) <= 0.7
    assert len(search.choose_validation_set(subset_is_random=False).held_out_ids) > 0


class FileLoop(Loop):
    """A loop whose states are files; the `limit`-th call of `train` fails."""

    def __init__(self, folder: Path, limit: int = 100) -> None:
        super().__init__(lambda candidate: 0.6 + 0.2 * candidate.weight)
        self.folder, self.limit = folder, limit

    def train(self, candidate: Candidate, state: Any, steps: TrainingSteps) -> Path:
        if len(self.calls) == self.limit:
            raise KeyboardInterrupt
        self.calls.append((candidate, state, steps))
        path = self.folder / f"state-{len(self.calls) if steps.is_probe else 0}"
        path.write_text(candidate.model_dump_json())
        return path

    def evaluate(self, state: Path) -> NDArray[np.float64]:
        return super().evaluate([Candidate.model_validate_json(state.read_text())])


def test_a_killed_search_resumes_from_its_folder(tmp_path: Path) -> None:
    uninterrupted = search_with().run(FileLoop(tmp_path).train, FileLoop(tmp_path).evaluate, VALIDATION)
    first, second = FileLoop(tmp_path, limit=2), FileLoop(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        search_with().run(first.train, first.evaluate, VALIDATION, folder=tmp_path / "search")
    decision = search_with().run(second.train, second.evaluate, VALIDATION, folder=tmp_path / "search")
    assert len(first.calls) + len(second.calls) == 1 + len(decision.probes)
    assert (decision.chosen, decision.predicted) == (uninterrupted.chosen, uninterrupted.predicted)
    with pytest.raises(IncompatibleInputs, match="store of other runs"):
        search_with(num_steps=100).run(second.train, second.evaluate, VALIDATION, folder=tmp_path / "search")
    decision.state.unlink()
    with pytest.raises(InvalidFile, match=r"checkpoint .*state-0 of the shared prefix is missing; delete "):
        search_with().run(second.train, second.evaluate, VALIDATION, folder=tmp_path / "search")
    loop = Loop(lambda _: 0.5)
    with pytest.raises(UserError, match=r"train\(\.\.\.\) returns the Path of its checkpoint; got list"):
        search_with().run(loop.train, loop.evaluate, VALIDATION, folder=tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 1}, "at least 2 steps"),
        ({"search_start": 2.0}, "search_start lies in 0..1"),
        ({"max_probes": 0}, "max_probes lies in 1..100"),
        ({"temperatures": [0.0]}, "temperatures are numbers above 0"),
        ({"temperatures": []}, "at least one"),
        ({"teacher_ages": (1.0, 1.5)}, "teacher_ages are shares"),
        ({"augmentations": ("cutmux",)}, "did you mean 'cutmix'"),
        ({"augmentations": ("resized",), "resized_crops": True}, "adds nothing"),
        ({"soft_labels": TEACHER[:, :3]}, r"3 classes; the labels go up to 4"),
        ({"soft_labels": TEACHER[:100]}, r"ids 0 to 99; got 0 to 398"),
        ({"soft_labels": TEACHER[0]}, r"logits float \[N, classes\]"),
        ({"soft_labels": TEACHER * np.nan}, "soft label of id 0 is NaN or infinite"),
        ({"labels": LABELS[:10]}, "positions in the 10 labels; got 398"),
        ({"labels": LABELS / 2}, "labels: whole numbers from 0"),
        ({"kept_ids": []}, "kept_ids: whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    arguments = {"soft_labels": TEACHER, "labels": LABELS, "kept_ids": KEPT, "num_steps": 200, "batch_size": 20}
    with pytest.raises(UserError, match=message):
        dp.WeightSearch(**{**arguments, **options})


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.full((600, CLASSES), np.nan), r"NaN or infinite numbers, the first for validation sample 0"),
        (np.zeros((599, CLASSES)), r"returned float64 \[599, 5\]; logits or probabilities of the 600 validation samples"),
        (VALIDATION, r"returned int64 \[600\]"),
        (None, r"returned object \[\]"),
        (torch.zeros(600, 3, requires_grad=True), r"returned 3 classes; the validation labels go up to 4"),
    ],
)
def test_what_evaluate_returns_is_checked(returned: Any, message: str) -> None:
    loop = Loop(lambda _: 0.5)
    with pytest.raises(UserError, match=message) as error:
        search_with().run(loop.train, lambda _: returned, VALIDATION)
    assert "\n" not in str(error.value)


def test_what_train_returns_is_checked() -> None:
    loop = Loop(lambda _: 0.5)
    with pytest.raises(UserError, match=r"train\(\.\.\.\) returned None for KD weight "):
        search_with().run(lambda *_: None, loop.evaluate, VALIDATION)
    with pytest.raises(UserError, match=r"cannot be copied \(cannot pickle 'generator' object\)"):
        search_with().run(lambda *_: (i for i in range(3)), loop.evaluate, VALIDATION)
    with pytest.raises(UserError, match="validation_weights: 600 numbers"):
        search_with().run(loop.train, loop.evaluate, VALIDATION, validation_weights=[1.0])


def test_a_loop_that_ignores_the_candidate_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop(lambda _: 0.7)
    search_with().run(loop.train, loop.evaluate, VALIDATION)
    printed = capsys.readouterr().err
    assert "all probes predicted alike" in printed
    assert "at most 0." in printed
    assert "it does not resume" in printed
