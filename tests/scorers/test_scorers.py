"""Scorers against cases worked out by hand; finding them; entry points of other packages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datapruning import scorers
from datapruning.api.score import score
from datapruning.artifacts.scorer import Samples, Scorer, scorer
from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, UnknownName
from datapruning.evidence.dynamics import EarlyEvaluation
from datapruning.evidence.sample_stats import SampleStats
from datapruning.runs.context import Context
from datapruning.utils.system import PROJECT_ROOT
from tests.helpers.evidence_cases import make_dynamics, make_sample_stats


def early_of(*early: SampleStats) -> EarlyEvaluation:
    """Make early evaluation evidence."""
    return EarlyEvaluation(early, 1)


def test_forgetting_counts_losses_and_ranks_the_never_learned_first(tmp_path: Path) -> None:
    correct = np.array([
        [1, 0, 1, 0, 1],
        [1, 0, 0, 1, 0],
        [1, 0, 1, 1, 1],
        [1, 0, 0, 1, 0],
    ])  # fmt: skip
    one = make_dynamics(make_sample_stats(tmp_path / "a", correct=correct))
    values, stderr = scorers.get_scorer("forgetting")(one)
    np.testing.assert_array_equal(values, [0, 4, 2, 0, 2])  # never learned: 4 presentations
    assert stderr is None
    two = make_dynamics(*one.train_passes, make_sample_stats(tmp_path / "b", correct=1 - correct))
    np.testing.assert_array_equal(scorers.get_scorer("forgetting")(two)[0], [0 + 4, 4 + 0, 2 + 1, 0 + 1, 2 + 1])


def test_el2n_is_the_mean_over_runs_with_its_standard_error(tmp_path: Path) -> None:
    norms = np.array([[0.1, 1.0], [0.3, 1.0], [0.2, 0.4]])
    early = [make_sample_stats(tmp_path / str(k), error_norm=norms[k : k + 1]) for k in range(3)]
    values, stderr = scorers.get_scorer("el2n")(early_of(*early))
    np.testing.assert_allclose(values, [0.2, 0.8], rtol=1e-6)
    assert stderr is not None
    np.testing.assert_allclose(stderr, [0.1 / 3**0.5, 0.6 / 3**0.5 / 3**0.5], rtol=1e-5)  # sd 0.1 and 0.3464
    assert scorers.get_scorer("el2n")(early_of(*early[:1]))[1] is None


def test_el2n_online_sums_the_first_ten_epochs(tmp_path: Path) -> None:
    norms = np.arange(24.0).reshape(12, 2) / 100
    values, _ = scorers.get_scorer("el2n-online")(make_dynamics(make_sample_stats(tmp_path, error_norm=norms)))
    np.testing.assert_allclose(values, norms[:10].sum(0), rtol=1e-6)


def test_random_is_a_permutation_that_depends_only_on_the_seed() -> None:
    values, _ = scorers.get_scorer("random")(Samples(1000, 3))
    assert len(np.unique(values)) == 1000
    np.testing.assert_array_equal(values, scorers.get_scorer("random")(Samples(1000, 3))[0])
    other, _ = scorers.get_scorer("random")(Samples(1000, 4))
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.1


@pytest.mark.parametrize("name", ["el2n", "el2n-online", "forgetting"])
def test_permuting_the_samples_permutes_the_scores(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    correct, norms = rng.integers(0, 2, (6, 30)), rng.random((6, 30)).astype(np.float32)
    order = rng.permutation(30)

    def values(folder_name: str, columns: Any) -> Any:
        complete = make_sample_stats(
            tmp_path / folder_name / "whole", correct=correct[:, columns], error_norm=norms[:, columns]
        )
        early = make_sample_stats(tmp_path / folder_name / "early", error_norm=norms[:1, columns])
        return scorers.get_scorer(name)(early_of(early) if name == "el2n" else make_dynamics(complete))[0]

    np.testing.assert_array_equal(values("permuted", order), values("plain", np.arange(30))[order])


def test_every_scorer_is_documented() -> None:
    available = scorers.find_scorers()
    page = (PROJECT_ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
    assert set(available) >= {
        "random", "el2n", "el2n-online", "grand", "grand-last", "forgetting", "memorization", "memorization-plain", "aum",
        "loss", "entropy", "margin", "confidence", "dyn-unc", "tdds", "dual", "herding", "k-center", "moderate",
        "prototypicality", "knn", "duplicates",
    }  # fmt: skip
    for name, available_scorer in available.items():
        assert available_scorer.source
        assert available_scorer.cost
        assert available_scorer.sign
        assert available_scorer.function.__doc__
        assert re.search(rf"^\| .*`{name}`", page, re.MULTILINE), f"docs/scorers.md has no row for {name}"


def test_an_unknown_scorer_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'forgetting'"):
        scorers.get_scorer("forgeting")


def test_an_installed_package_adds_a_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    @scorer("constant", needs=Samples, source="a test", cost="none", sign="none")
    def constant(samples: Samples) -> Any:
        """Return the same score for all."""
        return np.ones(samples.total)

    def points(*values: Any) -> Callable[..., list[Any]]:
        return lambda group: [SimpleNamespace(name="x", value="package:x", load=lambda v=v: v) for v in values]

    monkeypatch.setattr(scorers, "entry_points", points(constant))
    np.testing.assert_array_equal(scorers.get_scorer("constant")(Samples(3, 0))[0], [1, 1, 1])
    monkeypatch.setattr(scorers, "entry_points", points(lambda: None))
    with pytest.raises(DataPruningError, match="is no scorer"):
        scorers.find_scorers()
    imposter = Scorer("el2n", constant.function, Samples, "", "", "")
    monkeypatch.setattr(scorers, "entry_points", points(imposter))
    with pytest.raises(DataPruningError, match="two scorers are named 'el2n'"):
        scorers.find_scorers()


def test_a_scorer_that_returns_nan_is_stopped() -> None:
    broken = Scorer("broken", lambda _: np.array([0.0, np.nan]), Samples, "", "", "")
    with pytest.raises(DataPruningError, match="'broken' returned NaN"):
        broken(Samples(2, 0))


def test_scores_from_evidence_are_read_again_without_training(
    make_context: Callable[..., Context], small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(small_dataset)
    first = {name: score(context, name) for name in ("el2n", "forgetting")}
    monkeypatch.setattr("datapruning.evidence.proxies.Trainer", None)  # training again would fail
    repeated = score(make_context(small_dataset), "el2n")
    np.testing.assert_array_equal(first["el2n"].values, repeated.values)
    assert first["el2n"].stderr is not None
    assert first["forgetting"].values.max() <= context.recipe.proxy.epochs
    assert repeated.meta.evidence is not None
    assert repeated.meta.evidence.runs == 2


def test_killed_evidence_recording_resumes(
    make_context: Callable[..., Context], small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = score(make_context(small_dataset, workspace=tmp_path / "whole"), "el2n")
    from datapruning.evidence import proxies

    calls = []
    original = proxies.Trainer

    def stops_at_the_second(*args: Any, **options: Any) -> Any:
        calls.append(options["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(proxies, "Trainer", stops_at_the_second)
    context = make_context(small_dataset, workspace=tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        score(context, "el2n")
    np.testing.assert_array_equal(score(context, "el2n").values, uninterrupted.values)
    assert calls == [0, 1, 1]
