"""Likely wrong labels: ranked as by hand, found where they were planted, written so that anyone can read them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datapruning as dp
import scorers
from datapruning import suspecting
from datapruning.context import Context
from datapruning.costs import Cost
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import BadFile, BadValue, Mismatch, OutputTaken, UnknownName
from datapruning.evidence.ensemble import Member, SubsetEnsemble, write_member
from datapruning.evidence.recording import RIVALS
from datapruning.evidence.track import rivals
from datapruning.probabilities import best_other, confident_others
from datapruning.suspectlist import COLUMNS, Suspect, Suspects, load_suspects
from tests.conftest import FAST, Answer
from tests.test_report import check_stands_alone
from tests.test_report_runs import write_run

TOTAL, WRONG = 400, 40
"""Digits of `noisy`, and how many of them, the first ones, have a wrong label."""


@pytest.fixture(scope="session")
def noisy(digits: Dataset) -> tuple[Dataset, np.ndarray[Any, Any]]:
    """Digits of which a tenth have another class's label, and the true labels."""
    true = digits.train.labels[:TOTAL]
    given = true.copy()
    given[:WRONG] = (given[:WRONG] + 1 + np.arange(WRONG) % 9) % 10
    train = Split(digits.train.images[:TOTAL], given)
    return Dataset("noisy", train, digits.test, digits.class_names), true


def recorded(folder: Path, final: bool = True) -> Path:
    """A recording of two epochs of four samples in three classes, worked by hand below."""
    labels = torch.tensor([0, 1, 2, 0])
    epochs = [
        torch.tensor([[4.0, 0, 1], [0, 2, 0], [5, 1, 0], [1, 0, 0]]),
        torch.tensor([[2.0, 0, 1], [0, 4, 0], [3, 4, 0], [0, 2, 0]]),
    ]
    recorder = dp.record(folder, "my pictures", total=4, epochs=2)
    for epoch, logits in enumerate(epochs):
        recorder.begin(epoch)
        recorder.update(logits, labels, np.arange(4))
        recorder.end()
    if final:
        recorder.begin_final()
        recorder.update(torch.tensor([[9.0, 1, 2], [3, 9, 3], [1, 2, 9], [0, 1, 2]]), labels, torch.arange(4))
        recorder.end()
    return recorder.finish()


def test_suspects_of_a_recording_by_hand(tmp_path: Path) -> None:
    # margins: 3 and 1; 2 and 4; -5 and -4; 1 and -2
    found = dp.suspects_of_recording(recorded(tmp_path), count=3, class_names=["cat", "dog", "owl"])
    assert [(r.id, r.label_name, r.suggested_name) for r in found.rows] == [
        (2, "owl", "dog"), (3, "cat", "owl"), (0, "cat", "owl"),
    ]  # fmt: skip
    assert [r.score for r in found.rows] == [4.5, 0.5, -2.0]
    p = np.array([[1 / (np.e**5 + np.e + 1), 1 / (np.e**3 + np.e**4 + 1)], [np.e / (np.e + 2), 1 / (2 + np.e**2)]])
    np.testing.assert_allclose([r.label_prob for r in found.rows[:2]], p.mean(1), rtol=1e-5)
    assert found.order == "aum, highest scores first"
    assert dp.suspects_of_recording(tmp_path, count=4).rows[3].label_name == "1", "classes are called by their number"


def test_without_a_last_pass_nothing_is_suggested(tmp_path: Path) -> None:
    found = dp.suspects_of_recording(recorded(tmp_path, final=False), count=1, out=tmp_path / "s.csv")
    assert (found.rows[0].id, found.rows[0].suggested, found.rows[0].suggested_name) == (2, None, "")
    assert load_suspects(tmp_path / "s.csv").rows[0].suggested is None


def test_rivals_are_the_best_of_the_others() -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 6
    others = logits.numpy().copy()
    others[np.arange(50), labels] = -np.inf
    np.testing.assert_array_equal(rivals(logits, labels).numpy(), others.argmax(1))
    assert rivals(torch.zeros(2, 3), torch.tensor([0, 2])).tolist() == [1, 0], "of equals the lower class"


def test_rivals_that_are_broken_are_named_and_old_recordings_have_none(tmp_path: Path) -> None:
    recording = dp.open_recording(recorded(tmp_path))
    path = recording.run_folder(0) / RIVALS
    np.save(path, np.zeros(3, np.int32))
    with pytest.raises(BadFile, match=r"rivals.npy is int32 \[3\]"):
        recording.rivals()
    path.write_bytes(b"no array")
    with pytest.raises(BadFile, match=r"rivals.npy holds no classes"):
        recording.rivals()
    path.unlink()
    assert recording.rivals() is None


def ensemble_of(folder: Path, labels: Any, inside: Any, probs: Any) -> SubsetEnsemble:
    """An ensemble made by hand: bool [members, N] and float [members, N, classes]."""
    labels, inside, probs = np.asarray(labels), np.asarray(inside, bool), np.asarray(probs, np.float16)
    nothing = np.zeros(len(labels), np.float32)
    for k, (mask, mine) in enumerate(zip(inside, probs, strict=True)):
        correct = mine.argmax(1) == labels
        write_member(folder / f"{k}.npz", Member(mask, correct, nothing, nothing, mine[~mask], np.ones(2, bool), Cost()), k)
    return SubsetEnsemble(tuple(folder / f"{k}.npz" for k in range(len(inside))), labels, Cost())


def test_the_ensemble_ranks_by_members_that_never_saw_the_sample(
    tmp_path: Path, small: Dataset, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = small.train.labels
    rng = np.random.default_rng(0)
    inside = np.arange(120) % 3 != np.arange(6)[:, None] % 3  # each sample is outside of two members
    raw = rng.random((6, 120, 4)) + 0.01
    probs = raw / raw.sum(2, keepdims=True)
    probs[inside] = np.eye(4)[labels][np.nonzero(inside)[1]]  # those that saw it are sure of the label: must not count
    monkeypatch.setattr(suspecting, "open_ensemble", lambda context, seed: ensemble_of(tmp_path, labels, inside, probs))
    found = dp.suspects(make_context(small), "ensemble", count=120)
    weights = (~inside[:, :, None]) / 2
    expected = (probs.astype(np.float16) * weights).sum(0)
    own = expected[np.arange(120), labels]
    assert {r.id for r in found.rows} == set(range(120))
    ordered = [own[r.id] for r in found.rows]
    assert np.all(np.diff(ordered) >= -1e-3)
    for row in found.rows:
        others = np.where(np.arange(4) == labels[row.id], -1, expected[row.id])
        assert row.suggested == others.argmax()
        assert row.label_prob == row.score == pytest.approx(own[row.id], abs=1e-3)
    assert found.order == "ensemble, lowest scores first"


def test_equal_scores_are_ordered_by_the_label_s_probability_then_by_id() -> None:
    rng = np.random.default_rng(1)
    values, own = rng.integers(0, 3, 40).astype(np.float32), rng.integers(0, 3, 40) / 2
    view = suspecting._View(own, None, "")
    identity = Dataset("d", *[Split(np.zeros((40, 1, 1, 1), np.uint8), np.zeros(40, np.int64))] * 2, ("a",))
    for scorer, sign in (("aum", -1), ("knn", 1)):
        scores = dp.Scores(values, {"scorer": scorer})
        found = suspecting._ranked(scores, view, identity.train.labels, ["a"], 40, identity)
        keys = [(sign * values[r.id], own[r.id], r.id) for r in found.rows]
        assert keys == sorted(keys)


def test_confident_learning_counts_as_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.85, 0.15]], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    # thresholds 0.8 and 0.6167: only the last one reaches another class's
    assert confident_others(probs, labels) == 1
    assert best_other(probs, labels).tolist() == [1, 1, 1, 0, 0, 0]
    assert confident_others(np.array([[0.2, 0.8, 0.0]] * 2, np.float32), np.array([0, 0])) == 0, "no sample has class 1"


def test_confident_learning_counts_as_cleanlab_does() -> None:
    count = pytest.importorskip("cleanlab.count", reason="cleanlab is not installed")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    logits = rng.normal(size=(500, 4)) + 3 * np.eye(4)[np.where(rng.random(500) < 0.2, rng.integers(0, 4, 500), labels)]
    probs = np.exp(logits)
    probs = (probs / probs.sum(1, keepdims=True)).astype(np.float32)
    joint = count.compute_confident_joint(labels, probs.astype(np.float64), calibrate=False)
    assert confident_others(probs, labels) == joint.sum() - np.trace(joint) > 0


def planted_in(found: Suspects) -> float:
    """The share of the suspects whose label is wrong."""
    return float(np.mean([row.id < WRONG for row in found.rows]))


def test_planted_labels_are_found_at_the_end_that_the_table_says(
    make_context: Callable[..., Context], noisy: tuple[Dataset, np.ndarray[Any, Any]]
) -> None:
    data, true = noisy
    settings = ("score.epochs=8", "score.batch_size=16", "evidence.early_epoch=4")
    members = ("member.epochs=6", "ensemble.members=10", "member.batch_size=16")
    context = make_context(data, *settings, *members, recipe="digits")
    shares = {}
    for name in suspecting.WRONG_END:
        found = dp.suspects(context, name, count=WRONG)
        shares[name] = planted_in(found)
        guessed = [row.suggested == true[row.id] for row in found.rows if row.id < WRONG]
        assert np.mean(guessed) > 0.7, name
    assert min(shares.values()) > 0.4, shares  # 0.1 by chance, less at the other end
    assert min(shares["aum"], shares["ensemble"]) > 0.8, shares


def test_scorers_of_wrong_labels_exist_and_others_are_refused_by_name() -> None:
    assert set(suspecting.WRONG_END) - {"ensemble"} <= set(scorers.find_scorers())
    with pytest.raises(UnknownName, match=r"unknown scorer of wrong labels 'entropy'.*aum"):
        suspecting.check_scorer("entropy")


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(None, None, 50), (7, None, 7), (None, "0.02", 2), (None, 1, 120), (None, 1e-9, 1)]
)
def test_how_many_are_listed(count: int | None, share: Any, expected: int) -> None:
    assert suspecting.how_many(count, share, 120) == expected


def test_a_small_set_is_listed_whole_by_default() -> None:
    assert suspecting.how_many(None, None, 20) == 20


@pytest.mark.parametrize(
    ("count", "share", "message"),
    [
        (3, 0.5, "not by both"), (0, None, "0 were asked for"), (121, None, "120 training samples"),
        (None, "0", "0 < share <= 1; got 0"), (None, "many", "got many"), (None, "nan", "got nan"), (None, 1.1, "got 1.1"),
    ],
)  # fmt: skip
def test_counts_and_shares_that_cannot_be(count: int | None, share: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        suspecting.how_many(count, share, 120)


def listed(*rows: Suspect, **meta: Any) -> Suspects:
    """A list with the meta that readers need."""
    base = {"format": "datapruning.suspects", "version": 1, "dataset": "d", "fingerprint": "f", "total": 9}
    return Suspects(rows, {**base, "scorer": "aum", "end": "highest", "seed": 0, **meta})


ROWS = (
    Suspect(3, 1, 'a "b", c', 0, "ü\nx", 0.1 + 0.2, 1e-9), Suspect(8, 0, "=2+2", None, "", -1.5, None),
)  # fmt: skip


def test_the_csv_reads_back_and_the_csv_module_reads_it(tmp_path: Path) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    found = load_suspects(path)
    assert found.rows[1] == ROWS[1]
    assert found.rows[0].score == pytest.approx(0.3, rel=1e-8)
    assert (found.rows[0].label_name, found.rows[0].suggested_name) == ('a "b", c', "ü\nx")
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["rank"], line["id"], line["suggested"]) for line in lines] == [("1", "3", "0"), ("2", "8", "")]
    assert json.loads((tmp_path / "s.json").read_text())["scorer"] == "aum"


def test_a_spreadsheet_may_have_touched_it(tmp_path: Path) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    text = path.read_text().split("\n", 1)[0] + "\n2,8,0,=2+2,,,-1.5,\n\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_suspects(path).rows == ROWS[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n1,2\n", "its first line is not rank,id"),
        ("", "its first line is not rank,id"),
        (",".join(COLUMNS) + "\n1,x,0,a,,,0.5,\n", "line 2 is no suspect: 1,x,0,a"),
        (",".join(COLUMNS) + "\n1,3\n", "line 2 is no suspect: 1,3"),
        (",".join(COLUMNS) + "\n1,9,0,a,,,0.5,\n", "line 2: sample id 9 is outside the 9 samples"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    path.write_text(text)
    with pytest.raises(BadFile, match=message):
        load_suspects(path)


def test_a_list_needs_its_story(tmp_path: Path) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    story = tmp_path / "s.json"
    for text, message in (('{"format": "datapruning.scores"}', "it is a scores file"), ("{", "cannot be read as JSON")):
        story.write_text(text)
        with pytest.raises(BadFile, match=message):
            load_suspects(path)
    story.unlink()
    with pytest.raises(BadFile, match=r"s\.json is not there"):
        load_suspects(path)
    with pytest.raises(BadFile, match=r"none\.csv is not there"):
        load_suspects(tmp_path / "none.csv")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path, one = tmp_path / "s.csv", listed(*ROWS)
    one.save(path)
    stamp = path.stat().st_mtime_ns
    one.save(path)
    assert path.stat().st_mtime_ns == stamp
    for other in (listed(ROWS[0]), listed(*ROWS, scorer="loss"), listed(*ROWS, fingerprint="g")):
        with pytest.raises(OutputTaken, match=r"holds other suspects"):
            other.save(path)
    path.write_text("mine")
    with pytest.raises(OutputTaken, match=r"s\.csv holds something else"):
        one.save(path)
    assert path.read_text() == "mine"
    path.unlink()
    one.save(path)  # as after a kill between the two files
    (tmp_path / "t.json").write_text('{"mine": 1}')
    with pytest.raises(OutputTaken, match=r"t\.json holds something else"):
        one.save(tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_a_recording_of_other_data_is_refused(tmp_path: Path, digits: Dataset) -> None:
    with pytest.raises(Mismatch, match="was recorded on another dataset"):
        dp.suspects_of_recording(recorded(tmp_path), count=1, data=digits)
    with pytest.raises(BadValue, match=r"2 class names were given, and .* has a class 2"):
        dp.suspects_of_recording(tmp_path, count=1, class_names=["a", "b"])
    with pytest.raises(BadValue, match="holds no ensemble"):
        dp.suspects_of_recording(tmp_path, "ensemble")


# ---- the command


def words(*more: str) -> list[str]:
    """The verb with settings under which it takes a second."""
    settings = (*FAST, "ensemble.members=10", "member.epochs=1", "member.model=tinynet8", "score.model=tinynet8")
    return ["suspects", "--loader", "resident", *(w for s in settings for w in ("--set", s)), *more]


def test_the_command_lists_prints_and_shows(dprune: Callable[..., Answer], tmp_path: Path, digits: Dataset) -> None:
    first = dprune(*words("--count", "12", "--pictures", "s.html"))
    assert first.code == 0, first.err
    lines = first.out.splitlines()
    assert lines[0].startswith("Likely wrong labels in digits: the first 10 of 12, by aum, highest scores first: ")
    assert "no verdict" in lines[1]
    path = Path(lines[-1].removeprefix("suspects: "))
    found = dp.load_suspects(path)
    assert len(found) == 12
    shown = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert shown == ["sample id", "---------", *(str(row.id) for row in found.rows[:10])]
    assert all(row.label == digits.train.labels[row.id] != row.suggested for row in found.rows)
    html = check_stands_alone(tmp_path / "s.html")
    assert html.count("data:image/png;base64,") == 12
    assert f"rather {found.rows[0].suggested_name}" in html
    for row in found.rows:
        score = f"{row.score:.3g}".replace("-", "\N{MINUS SIGN}")
        assert f"label {100 * (row.label_prob or 0):.0f}%<br>score {score}<br>id {row.id}</span>" in html
    assert "<nav" not in html, "there is one section"
    again = dprune(*words("--count", "12", "--pictures", "s.html"))
    assert again.out == first.out
    assert "with the same content" in again.err
    assert "12 samples whose label is likely wrong" in dprune("inspect", path).out
    assert dprune(*words("--count", "2", "--out", "folder")).out.endswith(".csv\n")
    assert len(list((tmp_path / "folder").glob("digits-aum-*.csv"))) == 1


def test_the_ensemble_s_probabilities_are_saved_and_are_those_of_python(
    dprune: Callable[..., Answer], tmp_path: Path, digits: Dataset
) -> None:
    answer = dprune(*words("--scorer", "ensemble", "--share", "0.01", "--probs", "p.npz", "--out", "s.csv"))
    assert answer.code == 0, answer.err
    assert "Confident learning counts " in answer.out
    with np.load(tmp_path / "p.npz") as file:
        probs, labels = file["pred_probs"], file["labels"]
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(labels, digits.train.labels)
    found = dp.load_suspects("s.csv")
    assert len(found) == 14
    own = probs[np.arange(len(labels)), labels]
    assert [r.id for r in found.rows] == np.argsort(own, kind="stable")[:14].tolist()
    assert "probabilities of 10 classes, whole" in dprune("inspect", "p.npz").out
    context = dp.open_context(
        digits, loader="resident", device="cpu",
        changes=[*FAST, "ensemble.members=10", "member.epochs=1", "member.model=tinynet8", "score.model=tinynet8"],
    )  # fmt: skip
    np.testing.assert_array_equal(dp.pred_probs(context), probs)
    again = dprune(*words("--scorer", "memorization", "--share", "0.01", "--probs", "p.npz"))
    assert (again.code, "p.npz is there already" in again.err) == (0, True)
    other = dprune(*words("--scorer", "ensemble", "--seed", "1", "--probs", "p.npz", "--out", "t.csv"))
    assert other.code == 2
    assert "p.npz holds something else; name another --probs" in other.err
    assert not (tmp_path / "t.csv").exists()


def test_what_cannot_be_is_refused_before_anything_is_trained(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "did you mean 'loss'" in refused("suspects", "--scorer", "los")
    assert "not by both" in refused("suspects", "--count", "3", "--share", "0.1")
    assert "1,438 training samples" in refused("suspects", "--count", "2000")
    assert "goes with --scorer ensemble" in refused("suspects", "--probs", "p.npz")
    assert "ends in .html" in refused("suspects", "--pictures", "p.png")
    (tmp_path / "p.html").write_text("mine")
    assert "p.html exists and is no page of datapruning" in refused("suspects", "--pictures", "p.html")
    assert "is no recording" in refused("suspects", "--recording", tmp_path)
    assert "say with --data" in refused("suspects", "--recording", tmp_path, "--pictures", "q.html")


def test_a_recording_of_one_s_own_loop_has_suspects(dprune: Callable[..., Answer], tmp_path: Path) -> None:
    recorded(tmp_path / "mine")
    answer = dprune("suspects", "--recording", "mine", "--count", "2")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == "suspects: mine/suspects/aum-2.csv"
    assert [r.id for r in dp.load_suspects("mine/suspects/aum-2.csv").rows] == [2, 3]


def test_list_says_which_end_looks_wrong(dprune: Callable[..., Answer]) -> None:
    answer = dprune("suspects", "--list")
    assert (answer.code, answer.err) == (0, "")
    assert [line for line in answer.out.splitlines() if not line.startswith(" ")] == list(suspecting.WRONG_END)


def test_the_report_shows_the_suspects_of_its_workspace(
    dprune: Callable[..., Answer], refused: Callable[..., str], tmp_path: Path, digits: Dataset, small: Dataset
) -> None:
    write_run(tmp_path / "w" / "students" / "a", digits)
    labels = digits.train.labels

    def make(count: int, scorer: str, data: Dataset = digits) -> Suspects:
        rows = (Suspect(i, int(labels[i]), "a<b", 3, "<three>", 0.5, None) for i in range(count))
        meta = {"fingerprint": data.fingerprint, "total": data.total, "dataset": data.name, "scorer": scorer}
        return listed(*rows, **meta)

    assert "Likely wrong labels" not in (dprune("report", "w"), (tmp_path / "report.html").read_text())[1]
    for name, made in {"few": make(3, "aum"), "many": make(25, "aum"), "other": make(2, "aum", small)}.items():
        made.save(tmp_path / "w" / "suspects" / f"{name}.csv")
    (tmp_path / "w" / "suspects" / "broken.csv").write_text("x")
    answer = dprune("report", "w")
    assert answer.code == 0
    assert "left out: " in answer.err
    assert "broken.csv" in answer.err
    html = check_stands_alone(tmp_path / "report.html")
    assert html.count("data:image/png;base64,") == 18, "of one scorer the longest list, and of that the first 18"
    assert "The first 18 of 25" in html
    assert "rather &lt;three&gt;" in html
    assert '<a href="#suspects">Likely wrong labels</a>' in html
    assert ">score 0.5<br>id 0</span>" in html, "the label's probability is not known"
    make(2, "loss").save(tmp_path / "mine.csv")
    assert dprune("report", "w", "--suspects", "mine.csv").code == 0
    assert check_stands_alone(tmp_path / "report.html").count("data:image/png;base64,") == 20
    make(2, "aum", small).save(tmp_path / "small.csv")
    assert "small.csv lists samples of another dataset" in refused("report", "w", "--suspects", "small.csv")
