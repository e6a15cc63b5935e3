"""Checking a recipe without running it: every key, type and value, and what the values need from each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datapruning.config.recipe import INHERITS, Recipe, plain, read_recipe
from datapruning.config.toml_lines import in_line
from datapruning.config.training import Training
from datapruning.data.dataset_spec import DEFAULT_SIZE, parse_place
from datapruning.data.image_folder.scan import scan
from datapruning.data.registry import is_folder, open_dataset
from datapruning.data.torchvision_image_files import PICTURE_SETS
from datapruning.errors import InvalidFile, InvalidValue, UserError
from datapruning.models import check_model, model_outline
from datapruning.training.self_distillation.factory import check_combination
from datapruning.training.sparsity.prunable import prunable

GUESSED = 10


@dataclass(frozen=True)
class Sight:
    """What networks of a recipe would see.

    Attributes:
        data: the dataset, for people.
        shape: (height, width, channels) of its pictures.
        classes: their number; a guess where it takes reading the dataset to know it.
    """

    data: str
    shape: tuple[int, int, int]
    classes: int

    def __str__(self) -> str:
        height, width, channels = self.shape
        return f"pictures of {height}x{width} with {channels} channel{'s' * (channels != 1)}, as {self.data} has them"


def sight_of(data: str, root: str | Path | None = None) -> Sight:
    """The pictures of a dataset, by the name that `open_dataset` takes. Nothing is decoded and nothing written.

    Raises:
        UnknownName, InvalidFile, InvalidValue: as `open_dataset`.
    """
    place = parse_place(data)
    size = place.size or DEFAULT_SIZE
    if place.name in PICTURE_SETS or place.name.startswith("hf:"):
        return Sight(place.name, (size, size, 3), GUESSED)
    if is_folder(place.name):
        classes, _, _ = scan(Path(place.name).expanduser(), place.holdout)
        return Sight(place.name, (size, size, 3), len(classes))
    found = open_dataset(data, root=root)
    return Sight(found.name, found.train.shape, found.classes)


def check_recipe(path: str | Path, sight: Sight | None = None) -> Recipe:
    """Read a recipe as every command does, and check what is else found only while it runs.

    Args:
        path: of the recipe.
        sight: pictures that its networks are built for and tried on; None: their names are checked alone.

    Raises:
        InvalidFile, InvalidValue: naming the file, the line and what would be right.
    """
    path = Path(path)
    recipe, _ = read_recipe(path)
    text = path.read_text(encoding="utf-8")
    shape, classes = None, 0
    if sight is not None:
        try:
            shape, classes = recipe.views.seen(sight.shape), sight.classes
        except InvalidValue as error:
            raise InvalidValue(f"{path}{in_line(text, 'views', 'size')}: {error}") from None
    trained = ("train", *INHERITS)
    models = [(table, "model", getattr(recipe, table).model) for table in trained]
    for table, key, model in [*models, *(("kd", "ladder", name) for name in recipe.kd.ladder)]:
        try:
            check_model(model, shape, classes)
        except UserError as error:
            line = in_line(text, table, key) or in_line(text, "train", key)
            raise InvalidFile(f"{path}{line}: {table}.{key}: {error}") from None
    if shape is not None and recipe.epsd.removed:
        try:
            prunable(model_outline(recipe.train.model, shape, classes))
        except InvalidValue as error:
            raise InvalidValue(f"{path}{in_line(text, 'epsd')}: {error}") from None
    early, epochs = recipe.evidence.early_epoch, recipe.score.epochs
    if early > epochs:
        keys = (("evidence", "early_epoch"), ("score", "epochs"), ("train", "epochs"))
        line = next(filter(None, (in_line(text, table, key) for table, key in keys)), "")
        raise InvalidValue(
            f"{path}{line}: evidence.early_epoch is {early}, but the proxy trains {epochs} epochs (score.epochs); "
            f"it lies in 1..{epochs}"
        )
    try:
        check_combination(recipe)
    except UserError as error:
        raise InvalidValue(f"{path}{in_line(text, 'self_distill')}: {error}") from None
    return recipe


def recipe_lines(recipe: Recipe) -> list[str]:
    """What a recipe amounts to: how each network is trained, and which tables differ from the defaults."""
    lines = [f"  {table}: {_told(getattr(recipe, table))}" for table in ("train", *INHERITS)]
    views = recipe.views
    flip = "flips, " if views.flip else "no flips, "
    low, high = views.scale or (0, 0)
    crop = f"resized crops of {low:.0%} to {high:.0%}" if views.scale else f"crop {views.crop}"
    size = f"{views.size}x{views.size}, " if views.size else ""
    lines.append(f"  views: {size}{flip}{crop}, cutout {views.cutout}, {views.count} of them")
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
