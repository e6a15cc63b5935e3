"""Sparsity and self-distillation as dimensions of a sweep: trials, refused combinations, training."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from datapruning.api.train import train
from datapruning.config.recipe import Recipe
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.grid import make_grid
from datapruning.experiments.sweep.spec import BASE, StudentSpec
from datapruning.experiments.sweep.status import estimate_seconds
from datapruning.experiments.sweep.summary import estimate_passes
from datapruning.experiments.sweep.sweep import sweep
from datapruning.experiments.sweep.variants import check_variants, find_variants, student_context
from datapruning.io.trial_store import Trial
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.utils.cost import FORWARD_PASS_COST
from datapruning.utils.hashing import config_hash
from tests.conftest import fast_options

MakeContext = Callable[..., Context]
DIGEST = "888c782b258526df"
"""Of the row below, as stores that were begun before there were variants have it."""
SMALL = ("train.model=tinynet8",)


@pytest.fixture
def context(small_dataset: Dataset, make_context: MakeContext) -> Context:
    """Make a context of small students."""
    return make_context(small_dataset, *SMALL)


def rows(context: Context, **options: Any) -> list[dict[str, Any]]:
    """Return the trials of one fraction and one seed, without KD."""
    variants = find_variants(context, *(options.get(key) for key in ("sparsity", "criterion", "self_distill")))[1]
    return [spec.config for spec in replace(make_grid(120, "0.5", "random", "0", 1), variants=variants).students()]


def test_a_trial_without_a_variant_is_unchanged(context: Context) -> None:
    before = {"fraction": "0.5", "scorer": "random", "kd_weight": 0.0, "teacher": None, "seed": 0}
    assert rows(context) == [before]
    wide = rows(context, sparsity="0,0.9", criterion="snip", self_distill="none,dlb")
    assert wide[0] == before
    assert config_hash(wide[0], 16) == DIGEST
    assert len(wide) == 4


def test_a_dense_student_is_one_trial_for_all_criteria(context: Context) -> None:
    configs = rows(context, sparsity="0,0.9,0.5", criterion="snip,random")
    assert [(r["sparsity"]["sparsity"], r["sparsity"]["criterion"]) if "sparsity" in r else None for r in configs] == [
        None, (0.9, "snip"), (0.9, "random"), (0.5, "snip"), (0.5, "random"),
    ]  # fmt: skip
    assert rows(context, sparsity="0", criterion="snip,random") == rows(context)


def test_a_trial_records_every_setting_of_its_variant(context: Context) -> None:
    other = context.with_settings("sparsity", inner_steps=7).with_settings("self_distill", cs_kd_temperature=2.0)
    ours, theirs = (rows(c, sparsity="0.9", self_distill="cs-kd")[0] for c in (context, other))
    assert theirs["sparsity"] == {**ours["sparsity"], "inner_steps": 7}
    assert theirs["self_distill"] == {"method": "cs-kd", "cs_kd_weight": 1.0, "cs_kd_temperature": 2.0}
    assert json.loads(json.dumps(theirs)) == theirs


def test_a_worker_reads_the_variant_from_the_trial(context: Context, small_dataset: Dataset) -> None:
    settings_context = context.with_settings("sparsity", inner_steps=7).with_settings("self_distill", dlb_weight=0.25)
    base, variants = find_variants(settings_context, "0.9", "epsd", "dlb")
    (spec,) = variants
    spec = StudentSpec.from_config(json.loads(json.dumps(spec.config)))
    recipe = TypeAdapter(Recipe).validate_json(TypeAdapter(Recipe).dump_json(base.recipe))  # as a worker reads it
    worker_context = open_context(small_dataset, recipe=recipe, device="cpu", loader="memory")
    expected = settings_context.with_sparsity(0.9, "epsd").with_settings("self_distill", method="dlb").recipe.to_dict()
    assert student_context(worker_context, spec).recipe.to_dict() == expected == student_context(base, spec).recipe.to_dict()


def test_unspecified_options_are_those_of_the_recipe(context: Context) -> None:
    recipe_context = context.with_sparsity(0.8, "snip").with_settings("self_distill", method="tf-kd")
    default_spec, variants = find_variants(recipe_context, None, None, None)
    assert (default_spec.recipe, variants) == (recipe_context.recipe, (BASE,))
    unchanged, variants = find_variants(recipe_context, None, "random", None)
    assert [table and table.sparsity for table in [v.pruning for v in variants]] == [0.8]
    assert (unchanged.recipe.sparsity.sparsity, unchanged.recipe.self_distill.method) == (0.0, "tf-kd")
    unchanged, variants = find_variants(recipe_context, None, None, "none,tf-kd")
    assert [table and table.method for table in [v.self_distillation for v in variants]] == [None, "tf-kd"]
    assert (unchanged.recipe.sparsity.sparsity, unchanged.recipe.self_distill.enabled) == (0.8, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": ""}, "it names no shares of the weights"),
        ({"sparsity": "0.9", "criterion": ","}, "it names no criteria"),
        ({"self_distill": []}, "it names no methods"),
        ({"sparsity": "0.9,0.90"}, "sparsity 0.90 is given twice (as 0.9 and as 0.90)"),
        ({"sparsity": "0,-0"}, "given twice"),
        ({"sparsity": "1"}, "between 0 and 1 (0.95 keeps 5%; 0 is dense); got 1"),
        ({"sparsity": "-0.5"}, "got -0.5"),
        ({"sparsity": "nan"}, "got nan"),
        ({"sparsity": "most"}, "got most"),
        ({"criterion": "snip"}, "not how many"),
        ({"sparsity": "0.9", "criterion": "snip,snip"}, "criterion snip is given twice"),
        ({"self_distill": "dlb,dlb"}, "is given twice"),
    ],
)
def test_bad_variants_are_refused(context: Context, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        rows(context, **options)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_unknown_names_are_refused_even_where_all_is_dense(context: Context) -> None:
    with pytest.raises(InvalidValue, match="did you mean 'snip'"):
        rows(context, sparsity="0", criterion="snap")
    with pytest.raises(InvalidValue, match="did you mean 'cs-kd'"):
        rows(context, self_distill="cs-k")


def test_invalid_combinations_are_refused(context: Context) -> None:
    def check(of: Context, *variants: str | None, weights: tuple[float | str, ...] = (0.0,)) -> None:
        check_variants(*find_variants(of, *variants), weights)

    with pytest.raises(InvalidValue, match=r"90% of the weights removed by epsd, self-distillation none\): .*name a method"):
        check(context, "0.9", "epsd,snip", "none,cs-kd")
    check(context, "0.9", "epsd,snip", "cs-kd")
    check(context, "0.9", "snip", "none,cs-kd")
    with pytest.raises(InvalidValue, match="with KD weight 0 there is no teacher"):
        check(context.with_settings("sparsity", loss="kd"), "0.9", "epsd", "cs-kd", weights=(0.0, 0.9))
    check(context.with_settings("sparsity", loss="kd"), "0.9", "epsd", "cs-kd", weights=(0.9, "auto"))
    with pytest.raises(InvalidValue, match="do not go together"):
        check(context.with_train(infobatch=0.5), None, None, "none,dlb")


REFUSED = [
    (
        ["--sparsity", "0.9", "--criterion", "epsd,snip", "--self-distill", "none,cs-kd"],
        "self-distillation none): epsd takes",
    ),
    (["--sparsity", "1.5"], "sparsity is the share of the weights that is removed"),
    (["--criterion", "snip"], "give the sparsity too (--sparsity)"),
    (["--self-distill", "cskd"], "did you mean 'cs-kd'"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=lambda v: v[0] if isinstance(v, list) else "")
def test_the_command_refuses_in_one_line(expect_refusal: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in expect_refusal("sweep", "--kd-weights", "0", *fast_options(), *arguments)


def test_the_cost_includes_self_distillation(context: Context) -> None:
    base, variants = find_variants(context, "0,0.9", "snip", "none,cs-kd,dlb,tf-kd-self")
    grid = replace(make_grid(120, "0.5", "random", "0", 2), variants=variants)
    students = [spec for spec in grid.students() if spec.seed == 0]
    one = grid.samples_seen(base.recipe.train, students[0])
    students_by_method = {method: [s for s in students if (s.self_distillation and s.self_distillation.method) == method]
          for method in (None, "cs-kd", "dlb", "tf-kd-self")}  # fmt: skip
    price = {method: estimate_passes(base, grid, specs) for method, specs in students_by_method.items()}
    assert price[None] == 2 * one
    assert price["cs-kd"] == pytest.approx(2 * one * (1 + FORWARD_PASS_COST))
    assert price["dlb"] == 2 * 2 * one
    assert price["tf-kd-self"] == pytest.approx(3 * one + FORWARD_PASS_COST * one), (
        "a self teacher for both, two epochs of labels"
    )
    assert estimate_passes(base, grid, grid.students()) == pytest.approx(2 * sum(price.values()))
    recipes = context.with_settings("self_distill", method="dlb")
    assert estimate_passes(recipes, grid, students_by_method[None]) == 2 * price[None], (
        "the recipe's own counts where a row has none"
    )


def test_remaining_time_distinguishes_variants(context: Context) -> None:
    base, variants = find_variants(context, "0,0.9", "snip", "none,dlb")
    grid = replace(make_grid(120, "0.5", "random", "0", 2), variants=variants)
    pace = {None: 1.0, "dlb": 5.0}
    students = grid.students()
    seconds = [pace[s.self_distillation and s.self_distillation.method] + 2 * bool(s.pruning) for s in students]
    finished = [
        Trial(config=s.config, result={}, seconds=taken) for s, taken in zip(students, seconds, strict=True) if s.seed == 0
    ]
    remaining = [spec for spec in students if spec.seed == 1]
    assert estimate_seconds(base.recipe.train, grid, finished, remaining) == pytest.approx(sum(seconds) / 2)


def test_every_trial_equals_one_training_run_and_earlier_trials_are_kept(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid: dict[str, Any] = {"fractions": "0.5", "kd_weights": "0", "seeds": 1}
    first = sweep(context, **grid)
    trained, original = list[str](), train

    def spy(*arguments: Any, **options: Any) -> Any:
        trained.append(str(options.get("out")))
        return original(*arguments, **options)

    monkeypatch.setattr("datapruning.api.train.train", spy)
    capsys.readouterr()
    finished_sweep = sweep(context, **grid, sparsity="0,0.5", criterion="epsd,snip", self_distill="cs-kd")
    stderr = capsys.readouterr().err
    repeated = sweep(context, **grid, sparsity="0,0.5", criterion="snip", self_distill="none,cs-kd")
    assert finished_sweep.folder == repeated.folder == first.folder
    assert len(trained) == 4, "three, then snip without self-distillation; the first sweep's row is there"
    assert repeated.trials[0].config == first.trials[0].config
    assert "3 ways of pruning" in stderr
    assert "students pruned before training: keeping" in stderr
    assert "(50.00% removed), by epsd, snip" in stderr
    assert "with what self-distillation adds)" in stderr
    for row in finished_sweep.trials:
        config = row.config
        variant_context = context.with_settings("self_distill", method="cs-kd")
        if "sparsity" in config:
            variant_context = variant_context.with_sparsity(0.5, config["sparsity"]["criterion"])
        run = original(variant_context, fraction="0.5", kd_weight=0)
        weights = [folder / "model.safetensors" for folder in (finished_sweep.folder / row.result["folder"], run.folder)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        sparsity = run.result.sparsity
        assert row.result.get("sparsity", {}).get("masks") == (None if sparsity is None else sparsity.masks)
    head, _, *lines = (line.strip("|").split("|") for line in repeated.table.splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in head[3:5]] == ["weights removed", "self-distillation"]
    assert [[cell.strip() for cell in line[3:5]] for line in lines] == [
        ["none", "none"], ["50% by snip", "none"], ["none", "cs-kd"], ["50% by snip", "cs-kd"],
    ]  # fmt: skip
    assert "saves weights, not time" in repeated.table
    with (finished_sweep.folder / "rows.csv").open() as file:
        listed = [(r["sparsity"], r["criterion"], r["self_distill"]) for r in csv.DictReader(file)]
    assert listed == [("", "", ""), ("0.5", "snip", ""), ("", "", "cs-kd"), ("0.5", "snip", "cs-kd")]
