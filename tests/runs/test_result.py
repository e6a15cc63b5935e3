"""result.json: every kind of result round-trips; errors in one are named in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapruning.errors import InvalidFile
from datapruning.io.json import read_json, write_json
from datapruning.runs.result import (
    ImportedTeacherResult,
    InputStatistics,
    PhaseCosts,
    PhaseSeconds,
    RunResult,
    StudentMetadata,
    StudentResult,
    SubsetOrigin,
    TeacherRecord,
    TeacherResult,
    TeachingRecord,
    TrainedResult,
)
from datapruning.runs.training_records import (
    Candidate,
    CurvePoint,
    ExtraPasses,
    InfoBatchRecord,
    KDSearch,
    ProbeResult,
    Regime,
    SelfDistillationRecord,
)
from datapruning.utils.cost import ComputeCost
from tests.helpers.results import sparsity_record, student_result, teacher_result

counts = st.integers(0, 10**12)
numbers = st.floats(0, 1e9)
percents = st.floats(0, 100)
shares = st.floats(0, 1)
names = st.text(max_size=8)
costs = st.builds(ComputeCost, counts, counts, numbers, st.none() | counts)
seconds = st.builds(PhaseSeconds, **{phase: st.none() | numbers for phase in PhaseSeconds.model_fields})
phase_costs = st.builds(PhaseCosts, **{phase: st.none() | costs for phase in PhaseCosts.model_fields})
chosen = {
    "weight": shares, "temperature": st.floats(1e-3, 1e3), "confidence_weighting": st.booleans(), "teacher": counts,
    "augmentation": st.sampled_from(["recipe", "resized", "cutmix", "resized and cutmix"]),
}  # fmt: skip
probes = st.builds(ProbeResult, **chosen, accuracy=percents, stderr=numbers, samples_seen=counts, seconds=numbers)
regimes = st.builds(
    Regime,
    kept_per_class=st.floats(0.1, 1e6),
    epochs=st.floats(0.1, 1e6),
    agreement=shares,
    confidence=shares,
    wrong_labels=shares,
)
points = st.builds(CurvePoint, weight=numbers, accuracy=numbers, low=numbers, high=numbers)
searches = st.builds(
    KDSearch, **chosen, proposed=st.builds(Candidate, **chosen), regime=regimes, held=st.just(("views",)), num_views=counts,
    labels=costs, probes=st.lists(probes, max_size=3).map(tuple), curve=st.lists(points, max_size=3).map(tuple),
    validation=st.none() | names, validation_size=counts, samples_seen=counts, evaluated=counts, flops=counts,
    cost=numbers,
)  # fmt: skip
teachers = st.lists(
    st.builds(
        TeacherRecord,
        folder=names,
        model=names,
        test_accuracy=st.none() | percents,
        weights=names,
        epoch=st.none() | st.integers(1, 300),
    ),
    max_size=2,
).map(tuple)
students = st.builds(
    student_result, fraction=st.none() | numbers, test_accuracy=percents, seconds=seconds, costs=phase_costs,
    scorer=names, balance=st.none() | names, strategy=st.none() | names,
    strategy_settings=st.none() | st.lists(names, max_size=2).map(tuple), teacher=teachers,
    teacher_candidates=st.none() | teachers, kd_weight=st.floats(0, 1), temperature=st.none() | numbers,
    confidence_weighting=st.booleans(), kd_weight_search=st.none() | searches,
    sparsity=st.none() | st.just(sparsity_record()),
    infobatch=st.none() | st.builds(InfoBatchRecord, share=numbers, until=numbers, samples_skipped=counts),
    self_distill=st.none() | st.builds(
        SelfDistillationRecord, method=names, settings=st.dictionaries(names, numbers, max_size=2),
        extra_passes=st.builds(ExtraPasses, trained=counts, forward=counts),
    ),
)  # fmt: skip
imported = st.builds(
    ImportedTeacherResult, test_accuracy=percents, model=names, classes=st.integers(1, 99), dataset=names, fingerprint=names,
    samples_seen=counts, package_version=names, source=names,
    input=st.none() | st.builds(InputStatistics, mean=st.just((0.5, 0.25)), std=st.just((0.1, 1.0))),
)  # fmt: skip


@given(result=students | imported | st.builds(teacher_result, seconds=seconds, costs=phase_costs))
def test_every_result_survives_its_file(tmp_path_factory: pytest.TempPathFactory, result: RunResult) -> None:
    path = tmp_path_factory.mktemp("run") / "result.json"
    result.write(path)
    assert RunResult.read(path) == result
    assert type(result).read(path) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(test_acuracy=v.pop("test_accuracy")), "'test_acuracy': did you mean 'test_accuracy'?"),
        (lambda v: v["seconds"].update(trian=1.0), "in seconds, unknown key 'trian': did you mean 'train'?"),
        (lambda v: v["costs"].update(train={"samples": 3}), "in costs.train, unknown key 'samples': did you mean"),
        (lambda v: v["sparsity"]["layers"][0].update(nam="x"), "in sparsity.layers.0, unknown key 'nam'"),
        (lambda v: v.pop("kept"), "'kept' is missing"),
        (lambda v: v.update(kept="7"), "'kept' is '7', but it should be a valid integer"),
        (lambda v: v.update(kept=True), "'kept' is True"),
        (lambda v: v.update(test_accuracy=101), "'test_accuracy' is 101"),
        (lambda v: v.update(teacher=[{}]), "'teacher.0.folder' is missing"),
        (lambda v: v.update(kd_weight=2), "'kd_weight' is 2"),
        (lambda v: v["sparsity"]["settings"].update(sparsity=2.0), "lies between 0 and 1"),
        (lambda v: v.update(role="techer"), "unknown role 'techer': did you mean 'teacher'?"),
        (lambda v: v.pop("role"), "'role' is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    value = student_result(sparsity=sparsity_record()).to_json()
    change(value)
    path = tmp_path / "result.json"
    write_json(path, value)
    with pytest.raises(InvalidFile) as refused:
        RunResult.read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_result_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "result.json"
    student_result().write(path)
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(InvalidFile, match=r"result\.json cannot be read as JSON"):
        RunResult.read(path)


def test_a_result_of_another_role_is_refused(tmp_path: Path) -> None:
    teacher_result().write(tmp_path / "result.json")
    assert isinstance(TrainedResult.read(tmp_path / "result.json"), TeacherResult)
    with pytest.raises(InvalidFile, match="is the result of a teacher; that of a student is needed"):
        StudentResult.read(tmp_path / "result.json")


def test_unknown_values_are_left_out_of_the_file(tmp_path: Path) -> None:
    teacher_result().write(tmp_path / "result.json")
    assert not {"infobatch", "self_distill", "input", "scorer"} & read_json(tmp_path / "result.json").keys()


@given(seconds, seconds)
def test_merged_phases_have_those_of_both(one: PhaseSeconds, other: PhaseSeconds) -> None:
    merged = dict(one.merged(other))
    for phase, value in other:
        assert merged[phase] == (dict(one)[phase] if value is None else value)


def test_metadata_is_completed_by_what_the_training_measured() -> None:
    trained = teacher_result(seconds=PhaseSeconds(train=2.0), costs=PhaseCosts(train=ComputeCost(80, 0, 2.0)))
    teaching = TeachingRecord(seconds=PhaseSeconds(teacher=1.0)).with_scoring(ComputeCost(7, 0, 1.0))
    origin = SubsetOrigin(scorer="el2n", subset="s.npz")
    values = {**dict(origin), **dict(teaching), "kd_weight": 0.0}
    result = StudentMetadata(**values).complete(
        TrainedResult(**{**{key: value for key, value in trained if key != "early"}, "role": "student"})
    )
    assert (result.seconds.teacher, result.seconds.train) == (1.0, 2.0)
    assert (result.costs.scoring, result.costs.train) == (ComputeCost(7, 0, 1.0), ComputeCost(80, 0, 2.0))
    assert (result.scorer, result.kept, result.fraction) == ("el2n", 40, None)
    assert result.training_cost == ComputeCost(80, 0, 2.0)
