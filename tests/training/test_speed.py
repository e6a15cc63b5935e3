"""The measured seconds of trainings: they change no bit, and every command that trains says them first."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.runs.context import Context
from datapruning.training import speed
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.schedules import planned_steps
from datapruning.training.speed import measured_speed, share_left, training_seconds
from datapruning.utils import predicted_time
from datapruning.utils.console import quiet
from datapruning.utils.cost import Speed
from tests.conftest import CommandResult, fast_options

TIME = re.compile(r"^time: about \d+ (s|min)( \(.*\))?$", re.MULTILINE)


@pytest.fixture
def predicted_times(no_predicted_times: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Measure as in a new process, but for a moment only."""
    monkeypatch.setattr(speed, "ENOUGH_SECONDS", 0.0)
    token = predicted_time._PENDING.set(None)
    yield
    predicted_time._PENDING.reset(token)


@pytest.mark.usefixtures("predicted_times")
def test_measuring_changes_no_bit(
    digits: Dataset, make_context: Callable[..., Context], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = []
    for name, is_measured in (("measured", True), ("quiet", False)):
        context = make_context(digits, "train.model=tinynet8", "teacher.model=tinynet8", workspace=tmp_path / name)
        if is_measured:
            run = dp.train(context, fraction=0.2, kd_weight=0.5)
        else:
            with quiet():
                run = dp.train(context, fraction=0.2, kd_weight=0.5)
        assert bool(context.speeds) is is_measured
        weights.append((run.folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert len(TIME.findall(capsys.readouterr().err)) == 1


@pytest.mark.usefixtures("predicted_times")
@pytest.mark.parametrize(
    ("verb", "parts"),
    [
        ("teach", None),
        ("train --fraction 0.2 --kd-weight 0", None),
        ("train --fraction 0.2 --scorer el2n", ["proxies", "teacher", "soft labels", "student", "search"]),
        ("score --scorer el2n,aum", None),
        ("label-issues", None),
        (
            "sweep --fractions 0.1,0.2 --seeds 1 --kd-weights 0,1",
            ["teacher", "start of the workers", "soft labels", "students"],
        ),
        ("score --scorer memorization --set ensemble.num_members=8 --set ensemble.subset_fraction=0.5", None),
        ("advise --set train.epochs=1 --set teacher.epochs=1", ["reference", "first 3 pilots"]),
    ],
)
def test_commands_say_how_long_they_take_before_they_train(
    verb: str, parts: list[str] | None, dprune: Callable[..., CommandResult]
) -> None:
    options = [*fast_options(), "--set", "train.model=tinynet8", "--threads", 1]
    command = dprune(*verb.split(), *options)
    assert command.code == 0, command.err
    (line,) = (line for line in command.err.splitlines() if line.startswith("time:"))
    assert TIME.fullmatch(line), line
    if parts is not None:
        assert re.findall(r"[(,] ?([\w ]+?) \d+ (?:s|min)", line) == parts
    assert "on the test set" not in command.err.partition("time:")[0]
    assert "time:" not in dprune(*verb.split(), *options).err, "nothing is left to be trained"


def test_seconds_follow_from_the_samples_of_a_training(
    digits: Dataset, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "measured_speed", lambda _, config, **__: Speed(1.0 if config.progressive_size else 3.0, 1.0))
    context, total = make_context(digits), digits.total
    plain = context.recipe.train.replace(epochs=4)
    assert training_seconds(context, plain, 100, total) == 3 * 400
    assert training_seconds(context, plain.replace(budget="steps"), 100, total) > 10 * 3 * 400
    small = plain.replace(progressive_size=6, progressive_until=0.5)
    assert training_seconds(context, small, 100, total) == pytest.approx(3 * 200 + 200)
    skipping = training_seconds(context, plain.replace(infobatch=0.5, infobatch_until=1.0), 100, total)
    assert 0.5 * 1200 < skipping < 0.9 * 1200


def test_a_checkpoint_leaves_the_rest_of_a_training(
    digits: Dataset, make_context: Callable[..., Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make_context(digits).recipe.train.replace(epochs=4)
    steps = planned_steps(training, 100, digits.total)
    assert share_left([tmp_path / "state"], training, 100, digits.total) == 1
    (tmp_path / "state").touch()
    monkeypatch.setattr(Checkpoint, "state", lambda _: type("State", (), {"step": steps // 4}))
    assert share_left([tmp_path / "state"], training, 100, digits.total) == 0.75


def test_a_network_is_measured_once_whatever_its_schedule(digits: Dataset, make_context: Callable[..., Context]) -> None:
    context = make_context(digits, "train.model=tinynet8")
    training = context.recipe.train
    first = measured_speed(context, training)
    assert min(first.train, first.forward) > 0
    assert measured_speed(context, training.replace(epochs=9, infobatch=0.5)) is first
    assert measured_speed(context, training, is_taught=True) is not first
