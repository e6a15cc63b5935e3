"""A student that would repeat the training of a teacher takes its network, with the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.runs.context import Context

TINY = ("train.model=tinynet8", "teacher.model=tinynet8")


def test_labels_alone_on_everything_is_the_teacher(
    digits: Dataset, make_context: Callable[..., Context], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = dp.train(make_context(digits, *TINY, workspace=tmp_path / "trained"), fraction=1, kd_weight=0, seed=3)
    context = make_context(digits, *TINY, workspace=tmp_path / "taken")
    teacher = dp.teach(context, seed=3)
    taken = dp.train(context, fraction=1, kd_weight=0, seed=3)
    assert f"student: {teacher.folder} is the same training" in capsys.readouterr().err
    for name in ("model.safetensors", "subset.npz", "config.toml"):
        same = (taken.folder / name).read_bytes() == (trained.folder / name).read_bytes()
        assert same or name == "subset.npz"  # has the time in it
    ignored = {"seconds", "costs", "subset"}
    assert taken.result.model_dump(exclude=ignored) == trained.result.model_dump(exclude=ignored)
    assert taken.result.costs.train == teacher.result.costs.train
    assert dp.train(context, fraction=1, kd_weight=0, seed=3).folder == taken.folder


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        (("train.lr=0.01", "teacher.lr=0.02"), {}),
        ((), {"seed": 1}),
        ((), {"fraction": 0.9}),
        (("cutmix.prob=0.5",), {}),
        ((), {"sparsity": 0.5, "criterion": "magnitude"}),
        ((), {"self_distill": "dlb"}),
    ],
)
def test_another_training_is_made(
    changes: tuple[str, ...],
    options: dict[str, object],
    digits: Dataset,
    make_context: Callable[..., Context],
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = make_context(digits, *TINY, *changes)
    dp.teach(context)
    dp.train(context, **{"fraction": 1, "kd_weight": 0, **options})  # type: ignore[arg-type]
    assert "is the same training" not in capsys.readouterr().err


def test_a_sweep_trains_the_full_data_once(
    digits: Dataset, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(digits, *TINY)
    result = dp.sweep(context, fractions="0.1,1", kd_weights="0,1", seeds=1)
    teacher = dp.teach(context)
    (full,) = (t for t in result.trials if t.config["fraction"] == "1" and t.config["kd_weight"] == 0)
    assert full.result["test_accuracy"] == teacher.test_accuracy
    assert (result.folder / full.result["folder"] / "model.safetensors").read_bytes() == (
        teacher.folder / "model.safetensors"
    ).read_bytes()
