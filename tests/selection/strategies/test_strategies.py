"""Properties of all strategies: exact counts, seeds, nesting where declared, class balance."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.errors import IncompatibleInputs, InvalidValue, UnknownName
from datapruning.selection.draw import gumbel_noise
from datapruning.selection.select import select
from datapruning.selection.strategies import find_strategies, get_strategy
from datapruning.selection.strategy import format_settings, parse_settings
from datapruning.utils.fraction import kept_count
from tests.helpers.strategy_cases import CASES, FRACTIONS, StrategyCase, kept_ids, make_case, make_scores

ALL = find_strategies()
LAW = settings(max_examples=40)
SOFT = {"ccs": {"cutoff": 0}}
"""Settings under which every fraction can be kept."""
EVERY = pytest.mark.parametrize("strategy", sorted(ALL))
BALANCES = st.sampled_from(["none", "class"])


def chosen(
    problem: StrategyCase, fraction: str, strategy: str, balance: Any = "none", seed: int = 0, **given: Any
) -> list[int]:
    """Return the kept ids."""
    subset = select(
        problem.scores, fraction, strategy=strategy, settings={**SOFT.get(strategy, {}), **given}, balance=balance,
        labels=problem.labels, seed=seed, evidence=problem.evidence if ALL[strategy].evidence_kind else None,
    )  # fmt: skip
    assert subset.indices.dtype == np.int64
    return subset.indices.tolist()


def too_few(problem: StrategyCase, fraction: str, balance: str) -> bool:
    """Whether the fraction keeps no sample, which is refused."""
    return balance == "none" and kept_count(fraction, len(problem.labels)) == 0


def test_the_strategies_are_these() -> None:
    assert set(ALL) == {"top", "random", "window", "weighted", "ccs", "beta", "d2"}
    assert {name for name, item in ALL.items() if not item.nested} == {"beta"}
    assert {name: item.evidence_kind for name, item in ALL.items() if item.evidence_kind} == {
        "beta": "label probabilities", "d2": "embeddings",
    }  # fmt: skip


@EVERY
@LAW
@given(CASES, FRACTIONS, BALANCES, st.integers(0, 3))
def test_the_count_is_exact_and_ids_are_unique(
    strategy: str, problem: StrategyCase, fraction: str, balance: Any, seed: int
) -> None:
    if too_few(problem, fraction, balance):
        return
    ids = chosen(problem, fraction, strategy, balance, seed)
    assert ids == sorted(set(ids))
    assert set(ids) <= set(range(len(problem.labels)))
    if balance == "none":
        assert len(ids) == kept_count(fraction, len(problem.labels))
    for label in np.unique(problem.labels) if balance == "class" else []:
        size = int((problem.labels == label).sum())
        assert (problem.labels[ids] == label).sum() == max(1, kept_count(fraction, size))
    assert ids == chosen(problem, fraction, strategy, balance, seed), "the same again"


@pytest.mark.parametrize("strategy", sorted(name for name, item in ALL.items() if item.nested))
@LAW
@given(CASES, FRACTIONS, FRACTIONS, BALANCES, st.integers(0, 3))
def test_nested_strategies_are_nested(strategy: str, problem: StrategyCase, a: str, b: str, balance: Any, seed: int) -> None:
    few, many = sorted((a, b), key=Fraction)
    if not too_few(problem, few, balance):
        assert set(chosen(problem, few, strategy, balance, seed)) <= set(chosen(problem, many, strategy, balance, seed))


@pytest.mark.parametrize("strategy", sorted(name for name, item in ALL.items() if not item.nested))
def test_strategies_declared_not_nested_are_not(strategy: str) -> None:
    steps = [set(chosen(make_case(60), f"{f}/20", strategy)) for f in range(1, 21)]
    assert any(not few <= many for few, many in pairwise(steps))


@EVERY
@LAW
@given(CASES, FRACTIONS)
def test_classes_are_selected_independently(strategy: str, problem: StrategyCase, fraction: str) -> None:
    balanced = chosen(problem, fraction, strategy, "class")
    label = problem.labels[0]
    members = np.flatnonzero(problem.labels == label)
    values = problem.scores.values.copy()
    values[problem.labels != label] = 0.5
    problem.scores = make_scores(values)
    problem.evidence.probabilities[problem.labels != label] = 0.5
    problem.evidence.embeddings[problem.labels != label] = 100
    assert set(balanced) & set(members) == set(chosen(problem, fraction, strategy, "class")) & set(members)


@EVERY
def test_classes_of_very_different_sizes_keep_their_fraction(strategy: str) -> None:
    sizes = {0: 300, 1: 50, 2: 7, 3: 2, 4: 1}
    case = make_case(sum(sizes.values()))
    case.labels = np.random.default_rng(0).permutation(np.repeat(list(sizes), list(sizes.values())))
    ids = chosen(case, "0.1", strategy, "class")
    assert np.bincount(case.labels[ids]).tolist() == [30, 5, 1, 1, 1]


@pytest.mark.parametrize("strategy", ["random", "weighted", "ccs", "beta"])
def test_seeds_draw_differently(strategy: str) -> None:
    draws = {tuple(chosen(make_case(60), "1/4", strategy, seed=seed)) for seed in range(5)}
    assert len(draws) == 5


@pytest.mark.parametrize("strategy", ["top", "window", "d2"])
def test_deterministic_strategies_do_not_depend_on_the_seed(strategy: str) -> None:
    assert chosen(make_case(60), "1/4", strategy, seed=0) == chosen(make_case(60), "1/4", strategy, seed=1)


@EVERY
def test_fraction_one_keeps_all_samples(strategy: str) -> None:
    assert chosen(make_case(40), "1", strategy) == list(range(40))
    assert chosen(make_case(40), "1", strategy, "class") == list(range(40))


def test_ties_are_broken_by_the_lower_id() -> None:
    assert kept_ids("top", [1, 2, 2, 2, 0], 2) == [1, 2]
    assert kept_ids("window", [5, 5, 5, 5, 5, 5], 2) == [2, 3]
    features = [[0.0], [100.0], [200.0], [300.0]]  # so far apart that no message arrives
    assert kept_ids("d2", [1, 3, 3, 3], 2, features, k=1, gamma=1) == [1, 2]


@pytest.mark.parametrize(
    ("count", "ranks"), [(1, [2]), (2, [1, 2]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4])]
)
def test_the_window_is_the_middle_of_the_ranking(count: int, ranks: list[int]) -> None:
    assert kept_ids("window", [50, 40, 30, 20, 10], count) == ranks
    assert sorted(kept_ids("window", [10, 20, 30, 40, 50], count)) == sorted(4 - r for r in ranks)


def test_weighted_draws_in_proportion() -> None:
    values = np.array([0.0, 1.0, 2.0, 5.0])
    z = (values - 2) / np.sqrt(3.5)
    for temperature in (0.5, 2.0):
        weights = np.exp(z / temperature)
        first = [kept_ids("weighted", values, 1, seed=seed, temperature=temperature)[0] for seed in range(2000)]
        share = np.bincount(first, minlength=4) / 2000
        expected = weights / weights.sum()
        assert np.all(np.abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 2000))


def test_weighted_is_between_top_and_random() -> None:
    values = np.linspace(0, 1, 40)
    assert sorted(kept_ids("weighted", values, 10, temperature=0.001)) == list(range(30, 40))
    high, low = (
        np.mean([np.mean(kept_ids("weighted", values, 10, seed=s, temperature=t)) for s in range(50)]) for t in (1, 1000)
    )
    assert 18 < low < 21 < high, "ids of a uniform draw average 19.5"
    assert len(kept_ids("weighted", np.ones(5), 2)) == 2, "no spread: uniform"


def test_gumbel_numbers_are_finite_and_have_their_mean() -> None:
    noise = gumbel_noise(np.arange(20_000), 1, 2)
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772) < 4 * 1.2825 / np.sqrt(20_000)
    assert noise[7] == gumbel_noise(np.array([7]), 1, 2)[0], "of the id alone"


@pytest.mark.parametrize(
    ("strategy", "settings", "message"),
    [
        ("ccs", {"cutoff": 1}, "strategy 'ccs': cutoff is at least 0, below 1; got 1"),
        ("ccs", {"cutoff": -0.1}, "got -0.1"),
        ("ccs", {"cutoff": "nan"}, "got nan"),
        ("ccs", {"cutoff": "much"}, "got much"),
        ("ccs", {"cutoff": True}, "got True"),
        ("ccs", {"cutoff": None}, "got None"),
        ("ccs", {"strata": 0}, "strata is a whole number, at least 1"),
        ("ccs", {"strata": 2.5}, "whole number"),
        ("beta", {"c": 0}, "at least 0.01"),
        ("beta", {"epochs": 0}, "at least 1"),
        ("d2", {"k": 0}, "at least 1"),
        ("d2", {"gamma": "inf"}, "got inf"),
        ("weighted", {"temperature": 0}, "at least 0.001"),
        ("top", {"cutoff": 0.1}, "strategy 'top' has no settings; got cutoff=0.1"),
    ],
)
def test_settings_out_of_range_are_refused(strategy: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue) as error_info:
        select(make_scores(np.arange(10)), 0.5, strategy=strategy, settings=settings)
    assert message in str(error_info.value)


def test_names_that_do_not_exist_get_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="unknown strategy 'weigthed': did you mean 'weighted'"):
        get_strategy("weigthed")
    with pytest.raises(UnknownName, match="unknown setting of strategy ccs 'cutof': did you mean 'cutoff'"):
        get_strategy("ccs").resolve({"cutof": 0.1})


@pytest.mark.parametrize("arguments", [["cutoff"], ["=3"], ["cutoff="], ["cutoff=0.1", "cutoff=0.2"]])
def test_settings_of_the_wrong_type_are_refused(arguments: list[str]) -> None:
    with pytest.raises(InvalidValue, match=r"a setting is key=value|is given twice"):
        parse_settings(arguments)


def test_settings_round_trip() -> None:
    resolved = get_strategy("ccs").resolve(parse_settings(["cutoff = 0.2", "strata=7"]))
    assert resolved == {"cutoff": 0.2, "strata": 7}
    assert get_strategy("ccs").resolve(parse_settings(format_settings(resolved))) == resolved


@pytest.mark.parametrize("strategy", ["ccs", "beta", "d2", "weighted"])
def test_infinite_scores_are_refused_by_those_that_compute_with_them(strategy: str) -> None:
    with pytest.raises(InvalidValue, match=r"id 2 is inf \(1 such\)"):
        select(make_scores([1, 2, np.inf, 3]), 0.5, strategy=strategy)


@pytest.mark.parametrize("strategy", ["beta", "d2"])
def test_missing_evidence_names_the_command_that_makes_it(strategy: str) -> None:
    reads = ALL[strategy].evidence_kind
    with pytest.raises(InvalidValue) as error_info:
        select(make_scores(np.arange(10)), 0.5, strategy=strategy)
    assert str(error_info.value) == (
        f"strategy '{strategy}' reads {reads}, and these scores (scorer custom) name no recording; "
        "score by forgetting to make one, or name the folder of a recording"
        + (", or a file of embeddings" if strategy == "d2" else "")
    )


@pytest.mark.parametrize("strategy", ["beta", "d2"])
def test_evidence_of_another_size_or_not_finite_is_refused(strategy: str) -> None:
    case = make_case(20)
    with pytest.raises(IncompatibleInputs, match="20 samples, the scores are of 10"):
        select(make_scores(np.arange(10)), 0.5, strategy=strategy, evidence=case.evidence)
    case.evidence.probabilities[3] = np.nan
    case.evidence.embeddings[3] = [np.inf, -np.inf]
    with pytest.raises(InvalidValue, match="not finite for 1 samples, the first is id 3"):
        select(case.scores, 0.5, strategy=strategy, evidence=case.evidence)
