"""`check`: a recipe is read and every key, type, value and combination is checked, without running it."""

from dataclasses import dataclass
from pathlib import Path

from datapruning.config.combinations import check_combination
from datapruning.config.recipe import INHERIT_FROM_TRAIN, Recipe, read_recipe
from datapruning.config.toml import at_line
from datapruning.data.dataset_spec import DEFAULT_SIZE, parse_dataset_spec
from datapruning.data.image_folder.scan import scan_image_folder
from datapruning.data.registry import SOURCES, is_folder, open_dataset
from datapruning.data.torchvision_sets import IMAGE_FILE_SETS
from datapruning.errors import InvalidFile, InvalidValue, UserError
from datapruning.models import check_model, meta_model
from datapruning.models.training_check import check_training
from datapruning.recipes import path_of
from datapruning.runs.run_config import read_run_options
from datapruning.utils.names import expand_user
from datapruning.utils.plural import plural

ASSUMED_CLASSES = 10
"""Number of classes that networks are built for where only decoding the dataset would tell it."""


@dataclass(frozen=True)
class InputShape:
    """Name of a dataset, (height, width, channels) of its images and number of its classes: what networks are built for."""

    data: str
    shape: tuple[int, int, int]
    classes: int

    def __str__(self) -> str:
        height, width, channels = self.shape
        return f"images of {height}x{width} with {channels} channel{'s' * (channels != 1)}, as {self.data} has them"


def check(recipe: str | Path, data: str | Path | None = None, *, data_root: str | Path | None = None) -> list[str]:
    """Check a recipe and describe it in lines of text; nothing is trained or written.

    Args:
        recipe: A recipe's name, or the path of a .toml, a run's config.toml included.
        data: The dataset whose images the networks are tried on, as `open_dataset` takes it; default: that of the run,
            else the dataset that the recipe is named after; the networks are not tried where it cannot be read.
        data_root: Folder of the torchvision datasets.

    Raises:
        UnknownName: No such recipe.
        InvalidFile, InvalidValue: Naming the file, the line and what would be right, or about `data`.
    """
    path = path_of(str(recipe))
    checked, run = check_recipe(path), read_run_options(path)
    name = str(data) if data is not None else run.data if run else path.stem if path.stem in SOURCES else None
    networks, images = "networks were not tried; name the dataset", None
    try:
        images = infer_input_shape(name, data_root) if name else None
    except UserError as error:
        if data is not None:
            raise
        networks = f"networks were not tried: {error}"
    if images is not None:
        check_recipe(path, images)
        networks = f"every network takes {images}"
    return [f"{path}: a valid recipe; nothing was run", *recipe_lines(checked), f"  {networks}"]


def infer_input_shape(data: str, root: str | Path | None = None) -> InputShape:
    """Find the image shape of a dataset, named as `open_dataset` takes it, without decoding or writing anything.

    Raises:
        UnknownName, InvalidFile, InvalidValue: As `open_dataset`.
    """
    spec = parse_dataset_spec(data)
    size = spec.image_size or DEFAULT_SIZE
    if spec.name in IMAGE_FILE_SETS or spec.name.startswith("hf:"):
        return InputShape(spec.name, (size, size, 3), ASSUMED_CLASSES)
    if is_folder(spec.name):
        classes, _, _ = scan_image_folder(expand_user(spec.name), spec.holdout, None, spec.allow_empty_classes)
        return InputShape(spec.name, (size, size, 3), len(classes))
    dataset = open_dataset(data, root=root)
    return InputShape(dataset.name, dataset.train.shape, dataset.classes)


def check_recipe(path: str | Path, images: InputShape | None = None) -> Recipe:
    """Read a recipe as every command does, and check as well what a command would notice only while it runs.

    Its networks are tried on such images; where that is None, only their names are checked.

    Raises:
        InvalidFile, InvalidValue: Naming the file, the line and what would be right.
    """
    path = Path(path)
    recipe, _ = read_recipe(path)
    text = path.read_text(encoding="utf-8")

    def at_first(*keys: tuple[str, ...]) -> str:
        """The file and the line of the first of these tables or keys that the file has."""
        return f"{path}{next(filter(None, (at_line(text, *key) for key in keys)), '')}"

    shape, classes = None, 0
    if images is not None:
        try:
            recipe.views.check_images(images.shape)
            shape, classes = recipe.views.output_shape(images.shape), images.classes
        except InvalidValue as error:
            raise InvalidValue(f"{at_first(('views', 'size'))}: {error}") from None
    models = [(table, "model", getattr(recipe, table).model) for table in ("train", *INHERIT_FROM_TRAIN)]
    for table, key, model in [*models, *(("kd", "teacher_candidates", name) for name in recipe.kd.teacher_candidates)]:
        try:
            check_model(model, shape, classes)
        except UserError as error:
            raise InvalidFile(f"{at_first((table, key), ('train', key))}: {table}.{key}: {error}") from None
    for table in ("train", *INHERIT_FROM_TRAIN):
        try:
            if shape is not None:
                check_training(getattr(recipe, table), shape, classes)
        except UserError as error:
            raise InvalidValue(f"{at_first((table,), ('train',))}: {table}: {error}") from None
    if shape is not None and recipe.sparsity.sparsity:
        try:
            from datapruning.training.sparsity.prunable import prunable

            prunable(meta_model(recipe.train.model, shape, classes))
        except InvalidValue as error:
            raise InvalidValue(f"{at_first(('sparsity',))}: {error}") from None
    early_epoch, epochs = recipe.evidence.early_epoch, recipe.proxy.epochs
    if early_epoch > epochs:
        where = at_first(("evidence", "early_epoch"), ("proxy", "epochs"), ("train", "epochs"))
        raise InvalidValue(
            f"{where}: evidence.early_epoch is {early_epoch}, but the proxy trains {epochs} epochs (proxy.epochs); "
            f"it lies in 1..{epochs}"
        )
    try:
        check_combination(recipe)
    except UserError as error:
        raise InvalidValue(f"{at_first(('self_distill',))}: {error}") from None
    return recipe


def recipe_lines(recipe: Recipe) -> list[str]:
    """Summarise a recipe in lines of text: how each network is trained, and which tables differ from the defaults."""
    lines = []
    for table in ("train", *INHERIT_FROM_TRAIN):
        train = getattr(recipe, table)
        lines.append(
            f"  {table}: {train.model}, {plural(train.epochs, 'epoch')}, batches of {train.batch_size}, lr {train.lr:g}, "
            f"{train.schedule}, weight decay {train.weight_decay:g}"
        )
    views, evidence = recipe.views, recipe.evidence
    low, high = views.scale or (0, 0)
    crop = f"resized crops of {low:.0%} to {high:.0%}" if views.scale else f"crop {views.crop}"
    size = f"{views.size}x{views.size}, " if views.size else ""
    flip = "flips" if views.flip else "no flips"
    lines.append(f"  views: {size}{flip}, {crop}, cutout {views.cutout}, {views.num_views} of them")
    lines.append(
        f"  evidence: {evidence.runs} proxies, {evidence.full_runs} of them to the end, early evaluation after epoch "
        f"{evidence.early_epoch}; {recipe.ensemble.num_members} ensemble members"
    )
    defaults, tables = Recipe(name=recipe.name).to_dict(), recipe.to_dict()
    others = [
        name for name in ("cutmix", "mixup", "kd", "self_distill", "sparsity") if tables.get(name) != defaults.get(name)
    ]
    return [*lines, f"  other tables with values of their own: {', '.join(others) or 'none'}"]
