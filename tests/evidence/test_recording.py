"""Recordings: reading, proxies that write them, kills, and invalid folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import datapruning as dp
from datapruning import scorers
from datapruning.api.score import score
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.evidence import proxies
from datapruning.evidence.collect import estimate_evidence_cost, evidence_tables, read_evidence
from datapruning.evidence.manifests import RecordingManifest
from datapruning.evidence.proxies import record_proxies
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.recording import Recording, create_recording, open_recording, write_array
from datapruning.evidence.sample_stats import EVAL_STATISTICS, statistics
from datapruning.io.json import write_json
from datapruning.io.tensors import load_tensors
from datapruning.models.features import penultimate
from datapruning.runs.context import Context
from datapruning.training.checkpoint import Checkpoint, load_weights
from datapruning.training.evaluate import predict
from datapruning.utils.cost import ComputeCost
from tests.helpers.evidence_cases import make_dynamics, make_final_evaluation, make_sample_stats

MakeContext = Callable[..., Context]
TINY = (
    "proxy.model=tinynet8", "proxy.epochs=4", "proxy.batch_size=32", "evidence.runs=2", "evidence.early_epoch=2",
)  # fmt: skip
MANIFEST = RecordingManifest(dataset="photos", fingerprint="f", total=4, epochs=3)


def arrays_of(folder: Path) -> dict[str, Any]:
    """Return every array of a recording by its path."""
    return {path.relative_to(folder).as_posix(): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def test_averages_are_over_runs_and_the_first_epochs(tmp_path: Path) -> None:
    margins = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    dynamics = make_dynamics(*(make_sample_stats(tmp_path / str(k), margin=margins[k]) for k in range(2)))
    average = dynamics.average(lambda values: values.max(0), "margin")
    np.testing.assert_allclose(average, margins.max(1).mean(0), rtol=1e-6)
    average = dynamics.average(lambda values: values.max(0), "margin", epochs=2)
    np.testing.assert_allclose(average, margins[:, :2].max(1).mean(0), rtol=1e-6)
    look = make_final_evaluation(tmp_path / "look", {"entropy": margins[0, 0]}, {"entropy": margins[1, 0]})
    np.testing.assert_allclose(look["entropy"], margins[:, 0].mean(0), rtol=1e-6)


def test_an_early_evaluation_after_the_last_epoch_is_no_recording_of_the_training(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    recording = record_proxies(make_context(small_dataset, *TINY, "evidence.early_epoch=4"), 0, 2)
    assert [manifest.epochs for _, manifest in recording.finished_runs()] == [4, 4]
    assert [number for number, _ in recording.complete_runs()] == [0]
    assert len(recording.dynamics().train_passes) == 1
    assert not (recording.run_folder(1) / "train_passes").exists()


def test_proxy_recordings_are_read_by_every_scorer(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset, *TINY)
    recording = record_proxies(context, 5, 2)
    assert recording.runs() == [0, 1]
    assert [manifest.epochs for _, manifest in recording.finished_runs()] == [4, 2]
    np.testing.assert_array_equal(recording.labels(), small_dataset.train.labels)
    dynamics, look, early = recording.dynamics(), recording.final_evaluation(), recording.early_evaluation()
    assert len(dynamics.train_passes) == len(look.final) == 1  # evidence.full_runs
    assert (early.error_norms.shape, early.epoch) == ((2, 120), 2)
    assert dynamics.cost.samples_seen == 4 * 120
    assert early.cost.samples_seen == (4 + 2) * 120
    assert dynamics.train_passes[0]["change"][1:].min() > 0
    assert recording.embeddings().features.dtype == np.float16
    assert recording.embeddings().seed == 5
    np.testing.assert_allclose(recording.label_prob(2), dynamics.train_passes[0]["label_prob"][:2].mean(0), rtol=1e-5)
    for name, scorer in scorers.find_scorers().items():
        if scorer.needs.__name__ in ("Gradients", "SubsetEnsemble"):
            with pytest.raises(InvalidValue, match=f"scorer '{name}' reads {scorer.needs.__name__}, which a recording of"):
                read_evidence(recording, scorer)
        else:
            assert scorer(read_evidence(recording, scorer))[0].shape == (120,)
    leftovers = {path.name for path in recording.folder.rglob("*") if path.suffix == ".safetensors"}
    assert leftovers == {"early.safetensors"}  # no checkpoint, no changes
    assert not list(recording.folder.rglob("changes"))


def test_evaluations_and_features_use_the_weights_of_their_epoch(
    make_context: MakeContext, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, original = list[nn.Module](), proxies.Trainer

    def kept(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        models.append(model)
        return original(model, *arguments, **options)

    monkeypatch.setattr(proxies, "Trainer", kept)
    context = make_context(small_dataset, *TINY)
    recording = record_proxies(context, 0, 1)
    early = context.new_model("tinynet8", 0)
    load_weights(early, load_tensors(recording.run_folder(0) / "early.safetensors")[0], Path("early"))
    for model, track in ((early, recording.stats(0, "early")), (models[0], recording.stats(0, "final"))):
        with penultimate(model) as features:
            for ids, labels, logits in predict(model, context.loader("train"), np.arange(120), context.views):
                for name, values in statistics(logits, labels, track.statistics).items():
                    np.testing.assert_array_equal(track[name][0, ids], values, err_msg=name)
    outcome = recording.embeddings().features[ids]
    np.testing.assert_array_equal(outcome, features[0][: len(ids)].half().numpy())
    assert set(recording.stats(0, "final").statistics) == set(EVAL_STATISTICS)


class Killed(BaseException):
    """Interrupts a proxy."""


def killed_at(calls: int) -> type[Recorder]:
    """Make recorders raise once, at the given call of `update` counted over all recorders."""
    remaining = [calls]

    class Killer(Recorder):
        def update(self, *arguments: Any) -> None:
            remaining[0] -= 1
            if remaining[0] == 0:
                raise Killed
            super().update(*arguments)

    return Killer


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["checkpoints", "no-checkpoint"])
@pytest.mark.parametrize("calls", [2, 6, 9, 13, 18, 19])
def test_proxies_killed_anywhere_make_the_same_recording(
    make_context: MakeContext,
    small_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
    seconds: float,
) -> None:
    """Four training steps per epoch; 9 and 19 are the early evaluations of both proxies, 18 the final one of the first."""
    monkeypatch.setattr(proxies, "Checkpoint", partial(Checkpoint, seconds=seconds))
    uninterrupted = record_proxies(make_context(small_dataset, *TINY, workspace=tmp_path / "whole"), 0, 2)
    context = make_context(small_dataset, *TINY, workspace=tmp_path / "killed")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(proxies, "Recorder", killed_at(calls))
        record_proxies(context, 0, 2)
    repeated = record_proxies(context, 0, 2)
    one, two = arrays_of(uninterrupted.folder), arrays_of(repeated.folder)
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)
    assert uninterrupted.early_evaluation().cost.samples_seen == repeated.early_evaluation().cost.samples_seen


def test_more_runs_later_keep_the_first_ones(
    make_context: MakeContext, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = record_proxies(make_context(small_dataset, *TINY), 0, 2)
    before = {name: values for name, values in arrays_of(two.folder).items() if name.startswith("run-")}
    three = record_proxies(make_context(small_dataset, *TINY, "evidence.runs=3"), 0, 3)
    assert three.folder == two.folder
    after = arrays_of(three.folder)
    assert three.early_evaluation().error_norms.shape == (3, 120)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
    monkeypatch.setattr(proxies, "Trainer", None)  # training again would fail
    record_proxies(make_context(small_dataset, *TINY, "evidence.runs=3"), 0, 3)


def test_settings_without_evidence_are_refused(make_context: MakeContext, small_dataset: Dataset) -> None:
    with pytest.raises(InvalidValue, match=r"evidence.early_epoch is 5, but the proxy trains 4 epochs \(proxy.epochs\)"):
        score(make_context(small_dataset, *TINY, "evidence.early_epoch=5"), "el2n")
    context = make_context(small_dataset, *TINY, "evidence.full_runs=0")
    for name in ("forgetting", "loss", "knn"):
        with pytest.raises(InvalidValue, match=f"'{name}' reads a proxy that was trained to the end, and .*full_runs is 0"):
            score(context, name)


@pytest.mark.parametrize("names", [["el2n"], ["aum", "knn"], ["grand", "tdds"], ["memorization"], ["random"], None])
def test_the_estimated_cost_equals_the_recorded_cost(
    make_context: MakeContext, small_dataset: Dataset, names: list[str] | None
) -> None:
    members = (
        "ensemble.num_members=4",
        "ensemble.subset_fraction=0.5",
        "ensemble_member.model=tinynet8",
        "ensemble_member.epochs=1",
    )
    context, all_scorers = make_context(small_dataset, *TINY, *members), scorers.find_scorers()
    chosen = [all_scorers[name] for name in names or all_scorers]
    samples = estimate_evidence_cost(context, chosen).samples
    for item in chosen:
        score(context, item.name)
    folders = list((context.workspace / "evidence").glob("*"))
    runs = [manifest for folder in folders for _, manifest in open_recording(folder).finished_runs()]
    stores = [json.loads(path.read_text())["result"] for path in context.workspace.rglob("trials/*.json")]
    samples_seen = [manifest.cost.samples_seen for manifest in runs] + [
        manifest_json["cost"]["samples_seen"] for manifest_json in stores
    ]
    assert samples == sum(samples_seen)
    tables = evidence_tables(chosen)
    assert ("ensemble" in tables) == bool(stores)
    assert ("proxy" in tables) == bool(runs)


def recording_of(folder: Path, epochs: int = 3) -> Recording:
    """Make a recording of one finished run with only the training pass."""
    recording = create_recording(folder, MANIFEST)
    make_sample_stats(recording.run_folder(0) / "train_passes", margin=np.zeros((3, 4)))
    write_array(folder / "labels.npy", np.zeros(4, np.int64))
    recording.finish_run(0, epochs=epochs, early=False, final=False, cost=ComputeCost(12, 4, 1.0))
    return recording


def test_evidence_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    recording = recording_of(tmp_path / "whole")
    dp.score_recording(recording.folder, "aum")
    for name, message in {
        "el2n": "no evaluation pass at an early epoch, which EL2N is read from",
        "loss": r"no evaluation pass after the last epoch; record one \(start_final_evaluation\(\) in your own loop\)",
        "knn": "has no embeddings; they are recorded after the last epoch",
        "grand": "'grand' reads Gradients, which a recording of a training loop does not have",
    }.items():
        with pytest.raises(InvalidValue, match=message):
            dp.score_recording(recording.folder, name)
    short = recording_of(tmp_path / "short", epochs=2)
    with pytest.raises(InvalidValue, match="no run that was trained to the end"):
        dp.score_recording(short.folder, "aum")


def test_a_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"is not a recording: it has no recording.json"):
        open_recording(tmp_path)
    for text, message in [
        ("{", "cannot be read as JSON"),
        ('{"format": "theirs"}', "'format' is 'theirs', but it should be 'datapruning.recording'"),
        ('{"format": "datapruning.recording", "version": 99}', "'version' is 99, but it should be 1"),
        ('{"dataset": "d", "fingerprint": "f", "total": true, "epochs": 2}', "'total' is True"),
        ('{"dataset": "d", "fingerprint": "f", "total": 4, "epochs": 0}', "'epochs' is 0"),
        ('{"fingerprint": "f", "total": 4, "epochs": 2}', "'dataset' is missing"),
        (
            '{"dataset": "d", "fingerprint": "f", "total": 4, "epochs": 2, "early_epochs": 1}',
            "unknown key 'early_epochs': did you mean 'early_epoch'",
        ),
    ]:
        if text == "{":
            (tmp_path / "recording.json").write_text(text)
        else:
            write_json(tmp_path / "recording.json", json.loads(text))
        with pytest.raises(InvalidFile, match=message):
            open_recording(tmp_path)


def test_a_recording_of_another_dataset_is_refused(tmp_path: Path) -> None:
    create_recording(tmp_path, MANIFEST)
    assert create_recording(tmp_path, MANIFEST).total == 4
    changes: dict[str, Any] = {"fingerprint": "g", "total": 5, "epochs": 4, "dataset": "theirs"}
    for key, value in changes.items():
        with pytest.raises(IncompatibleInputs, match=f"is a recording with {key} .*, not {value}; name another folder"):
            create_recording(tmp_path, MANIFEST.model_copy(update={key: value}))


def test_broken_arrays_are_refused(tmp_path: Path) -> None:
    recording = recording_of(tmp_path)
    for values, message in [
        (np.zeros(3, np.int64), r"is int64 \[3\]; int64 \[4\] is needed"),
        (np.zeros(4), "is float64"),
    ]:
        write_array(tmp_path / "labels.npy", values)
        with pytest.raises(InvalidFile, match=message):
            recording.labels()
    (tmp_path / "labels.npy").write_bytes(b"")
    with pytest.raises(InvalidFile, match="holds no whole array of labels"):
        recording.labels()
    write_array(tmp_path / "labels.npy", np.zeros(4, np.int64))
    features = recording.run_folder(0) / "features.npy"
    for values, message in [
        (np.zeros((4, 2)), r"is float64 \[4, 2\]; float16 \[4, width\] is needed"),
        (np.zeros((3, 2), np.float16), r"float16 \[3, 2\]"),
    ]:
        write_array(features, values)
        with pytest.raises(InvalidFile, match=message):
            recording.embeddings()
    features.write_bytes(features.read_bytes()[:-3])
    with pytest.raises(InvalidFile, match="no whole array of embeddings"):
        recording.embeddings()
    margin = recording.run_folder(0) / "train_passes" / "margin.npy"
    margin.write_bytes(margin.read_bytes()[:-3])
    with pytest.raises(InvalidFile, match=r"margin.npy (was changed since it was written|holds no whole array of evidence)"):
        dp.score_recording(tmp_path, "aum")
