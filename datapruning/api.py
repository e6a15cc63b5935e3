"""The Python verbs: `open_dataset`, `score`, `select`, `teach`, `train`, `cache`. The command line calls nothing else.

This is the one module of the core that reaches out to `scorers`, `teachers` and `recipes`, and only when a verb runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datapruning.config import Recipe, check_kd_weight, plain, read_recipe
from datapruning.context import WORKSPACE, Context, make_context
from datapruning.data.dataset import Dataset
from datapruning.data.sources import open_dataset
from datapruning.errors import BadValue, OutputTaken
from datapruning.evidence.dynamics import TrainingDynamics, record_dynamics
from datapruning.fraction import kept_count
from datapruning.house import beside
from datapruning.meta import check_made_from, new_meta
from datapruning.progress import say
from datapruning.runs import FinishedRun, Run
from datapruning.saving import save_new
from datapruning.scorer import Samples, Scorer
from datapruning.scores import KIND as SCORES
from datapruning.scores import Scores, load_scores
from datapruning.selection import Balance, check_balance
from datapruning.selection import select as select_from
from datapruning.subsets import Subset, checked_ids, load_subset
from datapruning.training.environment import reproducible
from datapruning.training.loop import LEAST
from datapruning.training.student import train_student

AUTO = Path("auto")
Teachers = FinishedRun | str | Path | Sequence[FinishedRun | str | Path]


def get_recipe(name: str | None, data: Dataset, changes: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """A recipe by name or path (default: the dataset's own) with `changes` applied, and its [run] table.

    Raises:
        UnknownName, BadFile, BadValue: no such recipe, or something in it is wrong.
    """
    recipes = beside("recipes")
    return read_recipe(recipes.path_of(name or recipes.default_for(data.name)), changes)


def open_context(
    data: Dataset,
    *,
    recipe: str | Recipe | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    loader: str = "auto",
    workspace: str | Path = WORKSPACE,
    threads: int | None = None,
) -> Context:
    """Everything a verb needs beside its own arguments; pass it to several verbs to open loaders only once.

    Args:
        data: from `open_dataset`.
        recipe: a name, a path ending in .toml, or a `Recipe`; default: the dataset's own.
        changes: "table.key=value" each.
        device: "auto", "cpu", "cuda".
        loader: "auto", "ffcv", "resident".
        workspace: folder for caches, evidence, scores, teachers and students.
        threads: torch threads; default: the recipe's, else as torch has them.
    """
    found = recipe if isinstance(recipe, Recipe) else get_recipe(recipe, data, changes)[0]
    return make_context(data, found, device=device, loader=loader, root=workspace, threads=threads)


def _context(data: Dataset | Context) -> Context:
    return data if isinstance(data, Context) else open_context(data)


def score(data: Dataset | Context, scorer: str = "el2n", *, seed: int = 0, out: str | Path | None = None) -> Scores:
    """Score every training sample, higher = keep first.

    Evidence (proxies trained on the full data) that is already in the workspace is reused.

    Args:
        data: a dataset, or a context for other than default settings.
        scorer: its name.
        seed: of the evidence; of the order, for "random".
        out: file to write; default: none.

    Raises:
        UnknownName: no such scorer. OutputTaken: `out` holds something else.
    """
    context = _context(data)
    found: Scorer = beside("scorers").get_scorer(scorer)
    story: dict[str, Any] = {"scorer": found.name, "source": found.source, "sign": found.sign, "seed": seed}
    if found.needs is TrainingDynamics:
        evidence: Any = _dynamics(context, seed)
        story["costs"] = asdict(evidence.cost)
        recipe = context.recipe
        story |= {"evidence": asdict(recipe.evidence), "proxy": asdict(recipe.score), "views": asdict(recipe.views)}
    else:
        evidence = Samples(context.data.total, seed)
    values, stderr = found(evidence)
    scores = Scores(values, new_meta(SCORES, context.data, **story), stderr)
    if out is not None:
        save_new(scores, Path(out))
    return scores


def scores_place(context: Context, scorer: str, seed: int) -> Path:
    """Where a scorer's scores lie in the workspace."""
    recipe = context.recipe
    settings = {
        "proxy": asdict(recipe.score), "evidence": asdict(recipe.evidence), "seed": seed, "views": asdict(recipe.views),
        "threads": context.threads, "device": context.device.type,
    }  # fmt: skip
    return context.place("scores", scorer, settings).with_suffix(".npz")


def _dynamics(context: Context, seed: int) -> TrainingDynamics:
    recipe = context.recipe
    identity = {
        "proxy": asdict(recipe.score), "views": asdict(recipe.views), "evidence": asdict(recipe.evidence),
        "seed": seed, "threads": context.threads, "device": context.device.type,
    }  # fmt: skip
    folder = context.place("evidence", recipe.score.model, identity)
    if (folder / f"run-{recipe.evidence.runs - 1:03d}" / "done.json").exists():
        say(f"evidence: using {folder}")
    with reproducible(context.threads):
        return record_dynamics(
            folder, context.data.total, lambda s: context.new_model(recipe.score.model, s),
            lambda: context.split("train"), context.views, recipe.score, recipe.evidence, seed,
        )  # fmt: skip


def select(
    scores: Scores,
    fraction: float | str,
    *,
    strategy: str = "top",
    balance: Balance = "none",
    data: Dataset | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Subset:
    """Keep a fraction of the samples (see `datapruning.selection.select`).

    Args:
        scores: from `score` or `load_scores`.
        fraction: the share that is kept, 0 < f <= 1.
        strategy: "top" or "random".
        balance: "none", or "class", which needs `data` for its labels.
        data: checked against the scores where it is given.
        seed: of "random".
        out: file to write; default: none.

    Raises:
        BadValue, UnknownName: bad arguments. Mismatch: scores of another dataset. OutputTaken: `out` holds something else.
    """
    if data is not None:
        check_made_from("these scores", scores.meta, data)
    labels = None if data is None else data.train.labels
    subset = select_from(scores, fraction, strategy=strategy, balance=balance, labels=labels, seed=seed)
    if out is not None:
        save_new(subset, Path(out))
    return subset


def teach(data: Dataset | Context, *, seed: int = 0, out: str | Path | None = None) -> FinishedRun:
    """Train a teacher on the full data, or find the same one finished.

    Raises:
        OutputTaken: `out` holds something else.
    """
    finished: FinishedRun = beside("teachers.train").train_teacher(_context(data), seed, Path(out) if out else None)
    return finished


def train(
    data: Dataset | Context,
    subset: Subset | None = None,
    *,
    fraction: float | str | None = None,
    scorer: str = "random",
    scores: Scores | None = None,
    balance: Balance = "none",
    teacher: Teachers | None = None,
    kd_weight: float | str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
) -> FinishedRun:
    """Train a student on a subset, with soft labels of a teacher that saw all the data.

    Args:
        data: a dataset, or a context for other than default settings.
        subset: what to train on; or say `fraction` (with `scores`, or a `scorer` that makes them).
        fraction: the share that is kept; 1 trains on everything.
        scorer: who ranks, where neither `subset` nor `scores` is given.
        scores: ranks made before.
        balance: "class" keeps the fraction in each class.
        teacher: one or several runs, which teach together; default: the recipe's teacher, trained if it is not there.
            "auto": one is chosen, among those named beside it or else the recipe's ladder.
        kd_weight: 0 (labels alone, no teacher needed) to 1 (teacher alone), or "auto".
        seed: of subset (for the scorer "random"), initialisation and order.
        out: the run folder; default: a named one in the workspace.

    Raises:
        BadValue, Mismatch, BadFile, OutputTaken, UnknownName: the user's mistakes, before anything is trained.
    """
    context = _context(data)
    weight = None if kd_weight == "auto" else check_kd_weight(float(kd_weight))
    if out is not None:
        Run(Path(out)).refuse_foreign()
    teachers = beside("teachers.prepare")
    choosing, folders = _teacher_folders(teacher)
    named = teachers.load_teachers(context, folders)
    if choosing and weight == 0:
        raise BadValue("with KD weight 0 there is no teacher to choose")
    if choosing and len(named or context.recipe.kd.ladder) < 2:
        raise BadValue(
            "--teacher auto chooses among several: name two or more runs with --teacher as well, or networks in kd.ladder"
        )
    subset = _subset(context, subset, fraction, scorer, scores, balance, seed)
    ids = subset.indices
    if len(ids) < LEAST:
        raise BadValue(f"{subset}: a student needs at least {LEAST} samples to train on; keep more")
    options: dict[str, Any] = {
        "verb": "train", "data": context.data.name, "fingerprint": context.data.fingerprint,
        "fraction": subset.meta.get("fraction"), "scorer": subset.meta["scorer"], "balance": subset.meta.get("balance"),
        "subset": hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()[:16],
        "kd_weight": "auto" if weight is None else weight, "seed": seed,
        "teacher": [*([str(AUTO)] if choosing else []), *(str(t.folder) for t in named)] or None,
    }  # fmt: skip
    chooses = "-teacher-auto" if choosing else ""
    name = f"{subset.meta['scorer']}-{len(subset)}-kd-{options['kd_weight']}{chooses}-seed{seed}"
    recipe = context.recipe
    used = {table: values for table, values in plain(recipe).items() if table in ("train", "views", "mix", "kd")}
    run = Run(Path(out) if out else context.place("students", name, {**options, **used, "teachers": asdict(recipe.teacher)}))
    with run.claimed(recipe, ("views", "mix", "train", "teacher", "kd"), options, context.environment):
        result = run.result()
        if result is not None:
            say(f"student: {run.folder} is finished already, {result['test_accuracy']:.2f}% on the test set")
            return FinishedRun(run.folder, result)
        subset.save(run.folder / "subset.npz")
        how = f"scorer {subset.meta['scorer']}, balance {subset.meta.get('balance', 'none')}"
        say(f"subset: {subset} ({how}), in {run.folder / 'subset.npz'}")
        with reproducible(int(run.environment["threads"])):
            labels, story = list[Any](), dict[str, Any]()
            if choosing:
                labels, story = teachers.prepare_candidates(context, named, ids)
            elif weight != 0:
                together, story = teachers.prepare_labels(context, named, ids)
                labels = [together]
            scoring = (subset.meta.get("scores") or {}).get("costs")
            story["costs"] = {**({"scoring": scoring} if scoring else {}), **story.get("costs", {})}
            story |= {
                "fraction": subset.meta.get("fraction"), "scorer": subset.meta["scorer"],
                "balance": subset.meta.get("balance"), "subset": str(run.folder / "subset.npz"),
            }  # fmt: skip
            finished = train_student(context.among(ids), run, ids, labels, weight, seed, story)
    say(f"student: {finished.test_accuracy:.2f}% on the test set, {subset}, in {run.folder}")
    return finished


def _subset(
    context: Context,
    subset: Subset | None,
    fraction: float | str | None,
    scorer: str,
    scores: Scores | None,
    balance: Balance,
    seed: int,
) -> Subset:
    data = context.data
    if subset is not None:
        if fraction is not None or scores is not None:
            raise BadValue("a subset says itself what is kept; give either the subset or a fraction (with scores)")
        check_made_from("this subset", subset.meta, data)
        checked_ids(subset.indices, data.total, "this subset")
        return subset
    if fraction is None:
        raise BadValue("say what to train on: a fraction (0.3 keeps 30%) or a subset file")
    check_balance(balance)
    if balance == "none" and kept_count(fraction, data.total) < LEAST:  # before evidence is made for it
        raise BadValue(
            f"fraction {fraction} of {data.total:,} samples keeps {kept_count(fraction, data.total)}; "
            f"a student needs at least {LEAST}"
        )
    if scores is None:
        scores = score(context, scorer, seed=seed, out=None if scorer == "random" else scores_place(context, scorer, seed))
    return select(scores, fraction, balance=balance, data=data)


def _teacher_folders(teacher: Teachers | None) -> tuple[bool, list[Path]]:
    """Whether one is to be chosen, and the named runs."""
    each = [] if teacher is None else [teacher] if isinstance(teacher, FinishedRun | str | Path) else list(teacher)
    folders = [t.folder if isinstance(t, FinishedRun) else Path(t) for t in each]
    return AUTO in folders, [folder for folder in folders if folder != AUTO]


def cache(data: Dataset | Context, *, subset: Subset | None = None, out: str | Path | None = None) -> list[Path]:
    """Write the FFCV cache of both splits, or a compact one of a subset alone. Returns the `.beton` files.

    Raises:
        MissingPackage: FFCV is not installed. Mismatch: a subset of another dataset. OutputTaken: `out` exists.
    """
    from datapruning.data.cache import cache_folder, ensure_cache, ensure_subset_cache

    context = _context(data)
    root = context.root / "cache"
    if subset is None:
        return [ensure_cache(context.data, role, Path(out) if out else root) for role in ("train", "test")]
    check_made_from("this subset", subset.meta, context.data)
    name = hashlib.sha256(subset.indices.tobytes()).hexdigest()[:10]
    path = Path(out) if out else cache_folder(context.data, root) / f"subset-{len(subset)}-{name}.beton"
    if out and path.exists():
        raise OutputTaken(f"{path} exists; name another --out")
    return [path if path.exists() else ensure_subset_cache(context.data, subset.indices, path)]


__all__ = [
    "cache",
    "get_recipe",
    "load_scores",
    "load_subset",
    "open_context",
    "open_dataset",
    "score",
    "select",
    "teach",
    "train",
]
