"""Checking a recipe without running it: every key, type and value, and what the values need from each other."""

from __future__ import annotations

from pathlib import Path

from datapruning.blame import in_line
from datapruning.config import INHERITS, Recipe, Training, plain, read_recipe
from datapruning.errors import BadFile, BadValue, UserError
from datapruning.models import check_model
from datapruning.self_distillation.make import check_combination


def check_recipe(path: str | Path) -> Recipe:
    """Read a recipe as every command does, and check what is else found only while it runs.

    Raises:
        BadFile, BadValue: naming the file, the line and what would be right.
    """
    path = Path(path)
    recipe, _ = read_recipe(path)
    text = path.read_text(encoding="utf-8")
    trained = ("train", *INHERITS)
    models = [(table, "model", getattr(recipe, table).model) for table in trained]
    for table, key, model in [*models, *(("kd", "ladder", name) for name in recipe.kd.ladder)]:
        try:
            check_model(model)
        except UserError as error:
            line = in_line(text, table, key) or in_line(text, "train", key)
            raise BadFile(f"{path}{line}: {table}.{key}: {error}") from None
    early, epochs = recipe.evidence.early_epoch, recipe.score.epochs
    if early > epochs:
        keys = (("evidence", "early_epoch"), ("score", "epochs"), ("train", "epochs"))
        line = next(filter(None, (in_line(text, table, key) for table, key in keys)), "")
        raise BadValue(
            f"{path}{line}: evidence.early_epoch is {early}, but the proxy trains {epochs} epochs (score.epochs); "
            f"it lies in 1..{epochs}"
        )
    try:
        check_combination(recipe)
    except UserError as error:
        raise BadValue(f"{path}{in_line(text, 'self_distill')}: {error}") from None
    return recipe


def recipe_lines(recipe: Recipe) -> list[str]:
    """What a recipe amounts to: how each network is trained, and which tables differ from the defaults."""
    lines = [f"  {table}: {_told(getattr(recipe, table))}" for table in ("train", *INHERITS)]
    views = recipe.views
    flip = "flips, " if views.flip else "no flips, "
    lines.append(f"  views: {flip}crop {views.crop}, cutout {views.cutout}, {views.count} of them")
    evidence = recipe.evidence
    lines.append(
        f"  evidence: {evidence.runs} proxies, {evidence.full_runs} of them to the end, the early look after epoch "
        f"{evidence.early_epoch}; {recipe.ensemble.members} ensemble members"
    )
    same, mine = plain(Recipe(recipe.name)), plain(recipe)
    others = [table for table in ("mix", "kd", "self_distill", "epsd") if mine.get(table) != same.get(table)]
    return [*lines, f"  other tables with values of their own: {', '.join(others) or 'none'}"]


def _told(training: Training) -> str:
    return (
        f"{training.model}, {training.epochs} epochs, batches of {training.batch_size}, lr {training.lr:g}, "
        f"{training.schedule}, weight decay {training.weight_decay:g}"
    )
