"""What every verb works with: the dataset, the recipe, the device, the loaders, and the paths of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.init_record import InitRecord
from datapruning.config.recipe import Recipe
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.factory import open_loader
from datapruning.errors import InvalidValue
from datapruning.io.disk_space import is_writable
from datapruning.models import create_model
from datapruning.models.training_check import check_training
from datapruning.runs.hardware import Hardware
from datapruning.runs.run_config import Environment, NumericsKey
from datapruning.runs.trackers.trackers import Trackers
from datapruning.utils.cost import Speed
from datapruning.utils.hashing import config_hash
from datapruning.utils.processes import agree, num_processes
from datapruning.utils.time_limit import TimeLimit

if TYPE_CHECKING:
    import torch
    from torch import nn

    from datapruning.data.augment.augmentation import Augmentation
    from datapruning.data.loaders.loader import Loader
    from datapruning.models.normalization import Stats
    from datapruning.runs.initial_weights import InitialWeights
    from datapruning.runs.model_file import ModelDescription

WORKSPACE = "dprune-runs"
ROLE_TABLES = {"student": "train", "teacher": "teacher", "proxy": "proxy"}
"""The table of the recipe that has the settings of each kind of network that can start from weights."""


@dataclass(frozen=True)
class Context:
    """Made once for a command or a notebook; opens each loader once.

    Attributes:
        data: the dataset.
        recipe: every setting.
        hardware: the device, torch's threads and the kind of loader.
        workspace: the workspace folder.
        initial: what "student", "teacher" and "proxy" start from; those that are missing start at random.
        reuse: other workspaces, whose finished work is used where `workspace` has none; nothing is written there.
        subset_ids: sample ids int64 of the subset that a student is trained on; None: no student is trained.
        evidence: opened before, by its folder.
        speeds: of networks, without and with soft labels, as measured before (`training.speed`).
        time_limit: limit on the seconds of training; None: none.
        loggers: experiment trackers of the runs of teachers and students.
        held: settings that the user has set himself ("kd.temperature"), which a search does not change.
    """

    data: Dataset
    recipe: Recipe
    hardware: Hardware
    workspace: Path
    subset_ids: NDArray[np.int64] | None = None
    evidence: dict[Path, Any] = field(default_factory=dict, repr=False)
    time_limit: TimeLimit | None = None
    loggers: Trackers = field(default_factory=Trackers)
    held: frozenset[str] = frozenset()
    reuse: tuple[Path, ...] = ()
    initial: Mapping[str, InitialWeights] = field(default_factory=dict, repr=False)
    speeds: dict[tuple[TrainConfig, bool], Speed] = field(default_factory=dict, repr=False)
    _loaders: dict[str, Loader] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """See `Hardware`."""
        return self.hardware.device

    @property
    def loader_kind(self) -> str:
        """See `Hardware`."""
        return self.hardware.loader_kind

    @property
    def threads(self) -> int:
        """See `Hardware`."""
        return self.hardware.threads

    @cached_property
    def views(self) -> Augmentation:
        """The recipe's views of this dataset; in a student's context (`for_subset`) with the recipe's CutMix and mixup."""
        from datapruning.data.augment.augmentation import Augmentation

        views = Augmentation(self.recipe.views, *self.data.channel_stats)
        if self.subset_ids is None:
            return views
        return views.for_subset(self.subset_ids, self.recipe.cutmix, self.recipe.mixup)

    def for_subset(self, ids: NDArray[np.int64]) -> Context:
        """The same for a student that is trained on these sample ids int64, sorted."""
        return replace(self, subset_ids=ids)

    def loader(self, split: str) -> Loader:
        """The loader of "train" or "test"; an FFCV cache that is missing is written first."""
        if split not in self._loaders:
            cache = self.workspace / "cache"
            if self.loader_kind == "ffcv":
                from datapruning.data.loaders.ffcv_cache import cache_folder

                cache = self.find_artifact(cache, cache_folder(self.data, Path()) / f"{split}.beton")
            self._loaders[split] = open_loader(self.data, split, self.loader_kind, self.device, cache)
        return self._loaders[split]

    def describe_model(self, name: str, trained_with: Stats | None = None) -> ModelDescription:
        """What a network for this dataset is.

        `trained_with`: mean and standard deviation of the channels, 0..1, that its images were normalised with; None: the
        dataset's own.
        """
        from datapruning.runs.model_file import ModelDescription

        mean, std = self.data.channel_stats
        if trained_with is not None:
            mean, std = (tuple(255 * number for number in numbers) for numbers in trained_with)
        return ModelDescription(
            model=name, class_names=self.data.class_names, image_shape=self.data.train.shape, size=self.recipe.views.size,
            mean=mean, std=std,
        )  # fmt: skip

    def new_model(self, name: str, seed: int, role: str = "") -> nn.Module:
        """A network on the device, initialised with the seed, and with the initial weights of its role, if there are any."""
        model = create_model(name, self.shape, self.data.classes, seed)
        if role in self.initial:
            self.initial[role].load_into(model)
        return model.to(self.device)

    def with_init(self, role: str, path: str | Path | None) -> Context:
        """The same whose "student", "teacher" or "proxy" starts from a file of weights; None: from a random initialisation.

        Raises:
            InvalidFile, IncompatibleInputs: see `open_initial_weights`.
        """
        if path is None:
            return self
        model = getattr(self.recipe, ROLE_TABLES[role]).model
        from datapruning.runs.initial_weights import open_initial_weights

        weights = open_initial_weights(Path(path), model, self.shape, self.data.class_names)
        return replace(self, initial={**self.initial, role: weights})

    def init_record(self, role: str) -> InitRecord | None:
        """What the networks of a role start from; None: from a random initialisation."""
        return self.initial[role].record if role in self.initial else None

    def init_identity(self, role: str) -> dict[str, str]:
        """The part of the identity of a piece of work that names its initial weights; empty where there are none."""
        record = self.init_record(role)
        return {} if record is None else {"init": record.weights}

    def with_train(self, **changes: Any) -> Context:
        """The same with other [train] settings; the teacher's and the proxies' stay.

        Raises:
            InvalidValue, UnknownName: an unknown setting, or a value out of its range.
        """
        context = replace(self, recipe=self.recipe.with_settings("train", **changes))
        context.check_networks("train")
        return context

    def check_networks(self, *tables: str) -> None:
        """Refuse networks of these tables of the recipe that cannot be trained on these images.

        A command calls it before anything is trained, with the tables that it uses; "kd" stands for the candidate teachers.

        Raises:
            InvalidValue, UnknownName, MissingPackage: see `check_training`; the message names the setting.
        """
        trainings = {table: getattr(self.recipe, table) for table in tables if table != "kd"}
        checked = [(f"{table}.", training) for table, training in trainings.items()]
        if "kd" in tables:
            teacher = self.recipe.teacher
            checked += [("kd.teacher_candidates: ", teacher.replace(model=m)) for m in self.recipe.kd.teacher_candidates]
        for setting, training in checked:
            try:
                check_training(training, self.shape, self.data.classes)
            except InvalidValue as error:
                raise InvalidValue(f"{setting}{error}") from None

    def with_settings(self, table: str, **changes: Any) -> Context:
        """The same with other settings in another table of the recipe, such as "self_distill"; a search holds them.

        Raises:
            InvalidValue, UnknownName: an unknown setting, or a value out of its range.
        """
        held = self.held | {f"{table}.{key}" for key in changes}
        return replace(self, recipe=self.recipe.with_settings(table, **changes), held=held)

    def with_sparsity(self, sparsity: float | None = None, criterion: str | None = None) -> Context:
        """The same with a pruned student.

        Args:
            sparsity: share of its weights that is removed, between 0 and 1; None: the recipe's.
            criterion: see `SparsityConfig`; None: the recipe's.

        Raises:
            InvalidValue, UnknownName: an unknown criterion, or a value out of its range.
        """
        if sparsity is not None and not 0 < sparsity < 1:
            raise InvalidValue(
                f"sparsity is the share of the weights that is removed, between 0 and 1 (0.95 keeps 5%); got {sparsity}",
                parameter="sparsity",
            )
        changes = {"sparsity": sparsity, "criterion": criterion}
        resolved = self.with_settings("sparsity", **{key: value for key, value in changes.items() if value is not None})
        if not resolved.recipe.sparsity.sparsity:
            raise InvalidValue(
                "a criterion says which weights are removed, not how many: give the sparsity too", parameter="sparsity"
            )
        return resolved

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a view, which may be smaller than the image."""
        return self.recipe.views.output_shape(self.data.train.shape)

    @property
    def environment(self) -> Environment:
        """What a run records of its surroundings."""
        import torch

        return Environment(
            threads=self.threads, device=str(self.device), processes=self._shared_by,
            data=self.data.source or self.data.name, torch=torch.__version__, loader=self.loader_kind,
            init=next((weights.record.path for weights in self.initial.values()), None),
        )  # fmt: skip

    @property
    def numerics_key(self) -> NumericsKey:
        """What float sums are rounded by; part of the identity of evidence and scores."""
        return NumericsKey(threads=self.threads, device=self.device.type, processes=self._shared_by)

    @property
    def _shared_by(self) -> int | None:
        return num_processes() if num_processes() > 1 else None

    def artifact_path(self, kind: str, name: str, identity: Mapping[str, object]) -> Path:
        """The default folder of a piece of work, WORKSPACE/kind/dataset-name-hash.

        Args:
            kind: of work, such as "teachers".
            name: that people recognise it by.
            identity: all that defines it, beside the dataset.
        """
        corrupt = {"unreadable": len(self.data.corrupt_ids)} if self.data.corrupt_ids else {}
        digest = config_hash({"data": self.data.fingerprint, **corrupt, **identity}, 8)
        return self.workspace / kind / f"{self.data.name}-{name.replace(':', '-')}-{digest}"

    def may_write(self, folder: Path) -> bool:
        """Whether work may be added to a folder: it can be written, and is in no workspace to `reuse`."""
        reused = any(folder.resolve().is_relative_to(workspace.resolve()) for workspace in self.reuse)
        return agree(not reused and is_writable(folder))

    def find_artifact(self, path: Path, *files: str | Path) -> Path:
        """`path` in the workspace, or its counterpart in the first workspace to `reuse` that has it.

        A piece of work is there if all `files` (relative to `path`; none: `path` itself) exist.
        """
        for workspace in (self.workspace, *self.reuse):
            candidate = workspace / path.relative_to(self.workspace)
            if agree(all((candidate / file).exists() for file in files or [""])):
                return candidate
        return path
