"""What every verb works with: the dataset, the recipe, the device, the loaders, and where files go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datapruning.config.recipe import Recipe
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.factory import open_loader, resolve_device, resolve_loader
from datapruning.data.loaders.loader import Loader
from datapruning.errors import InvalidValue
from datapruning.models import check_model, create_model
from datapruning.runs.process_group import num_processes, share_loader
from datapruning.runs.trackers.trackers import Trackers
from datapruning.utils.hashing import config_hash
from datapruning.utils.time_limit import TimeLimit

WORKSPACE = "dprune-runs"


@dataclass(frozen=True)
class Context:
    """Made once for a command, or for a notebook's worth of calls; opens each loader once.

    Attributes:
        data: the dataset.
        recipe: every setting.
        device: where networks run.
        loader_kind: "ffcv", "mmap" or "memory".
        workspace: the workspace folder.
        threads: torch threads on the CPU; part of the reproducibility contract.
        subset_ids: sample ids of the subset whose student is at work; None: no student is.
        evidence: what was opened already, by its folder.
        time_limit: of the seconds that trainings may take.
        loggers: which tools show the runs of teachers and students.
    """

    data: Dataset
    recipe: Recipe
    device: torch.device
    loader_kind: str
    workspace: Path
    threads: int
    subset_ids: NDArray[np.int64] | None = None
    evidence: dict[Path, Any] = field(default_factory=dict, repr=False)
    time_limit: TimeLimit | None = None
    loggers: Trackers = field(default_factory=Trackers)
    _loaders: dict[str, Loader] = field(default_factory=dict, repr=False)

    @cached_property
    def views(self) -> Augmentation:
        """The recipe's views of this dataset; mixed, if the recipe says so, in a student's context (see `among`)."""
        views = Augmentation(self.recipe.views, *self.data.channel_stats)
        return views if self.subset_ids is None else views.for_subset(self.subset_ids, self.recipe.cutmix)

    def for_subset(self, kept: NDArray[np.int64]) -> Context:
        """The same for a student of this subset (sorted sample ids)."""
        return replace(self, subset_ids=kept)

    def loader(self, split: str) -> Loader:
        """The loader of "train" or "test"; an FFCV cache that is missing is written first."""
        if split not in self._loaders:
            opened = open_loader(self.data, split, self.loader_kind, self.device, self.workspace / "cache")
            self._loaders[split] = share_loader(opened, self.data, split, self.workspace, self.device)
        return self._loaders[split]

    def new_model(self, name: str, seed: int) -> nn.Module:
        """A fresh network on the device."""
        return create_model(name, self.shape, self.data.classes, seed).to(self.device)

    def with_train(self, **changes: Any) -> Context:
        """The same with other [train] settings; the teacher's and the proxies' stay.

        Raises:
            InvalidValue, UnknownName: a setting that cannot be.
        """
        recipe = self.recipe.with_settings("train", **changes)
        check_model(recipe.train.model, self.shape, self.data.classes)
        return replace(self, recipe=recipe)

    def with_settings(self, table: str, **changes: Any) -> Context:
        """The same with other settings in another table of the recipe, such as "self_distill".

        Raises:
            InvalidValue, UnknownName: a setting that cannot be.
        """
        return replace(self, recipe=self.recipe.with_settings(table, **changes))

    def with_sparsity(self, sparsity: float | None = None, criterion: str | None = None) -> Context:
        """The same with a pruned student.

        Args:
            sparsity: the share of its weights that goes, between 0 and 1; None: as the recipe has it.
            criterion: see `SparsityConfig`; None: as the recipe has it.

        Raises:
            InvalidValue, UnknownName: a setting that cannot be.
        """
        if sparsity is not None and not 0 < sparsity < 1:
            raise InvalidValue(
                f"sparsity is the share of the weights that is removed, between 0 and 1 (0.95 keeps 5%); got {sparsity}",
                parameter="sparsity",
            )
        asked = {"sparsity": sparsity, "criterion": criterion}
        resolved = self.with_settings("sparsity", **{key: value for key, value in asked.items() if value is not None})
        if not resolved.recipe.sparsity.sparsity:
            raise InvalidValue(
                "a criterion says which weights are removed, not how many: give the sparsity too", parameter="sparsity"
            )
        return resolved

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what a network sees: a view's, which may be smaller than the picture."""
        return self.recipe.views.output_shape(self.data.train.shape)

    @property
    def environment(self) -> dict[str, Any]:
        """What a run records of its surroundings; "processes" where there are several."""
        count = num_processes()
        return {
            "data": self.data.source or self.data.name, "threads": self.threads, "device": str(self.device),
            "torch": torch.__version__, "loader": self.loader_kind, **({"processes": count} if count > 1 else {}),
        }  # fmt: skip

    @property
    def numerics_key(self) -> dict[str, Any]:
        """What names evidence beside its settings, for sums are rounded by it: threads, kind of device and processes."""
        count = num_processes()
        return {
            "threads": self.threads, "device": self.device.type, **({"processes": count} if count > 1 else {}),
        }  # fmt: skip

    def artifact_path(self, kind: str, name: str, identity: dict[str, Any]) -> Path:
        """The default folder of a piece of work: named for people, and by the digest of all that defines it."""
        lost = {"unreadable": len(self.data.corrupt_ids)} if self.data.corrupt_ids else {}
        named = config_hash({"data": self.data.fingerprint, **lost, **identity}, 8)
        return self.workspace / kind / f"{self.data.name}-{name.replace(':', '-')}-{named}"


def make_context(
    data: Dataset,
    recipe: Recipe,
    *,
    device: str = "auto",
    loader: str = "auto",
    workspace: str | Path = WORKSPACE,
    threads: int | None = None,
    log: Sequence[str] = (),
) -> Context:
    """Resolve "auto" device and loader.

    Raises:
        InvalidValue: no such device here, a model that does not take such pictures.
        UnknownName: no such loader, model or log.
        MissingPackage: "timm:..." without timm, a log without its tool.
    """
    logs = Trackers.of(log, workspace)
    for model in (
        *(t.model for t in (recipe.train, recipe.teacher, recipe.proxy, recipe.ensemble_member)),
        *recipe.kd.teacher_candidates,
    ):
        check_model(model, recipe.views.output_shape(data.train.shape), data.classes)
    resolved_device = resolve_device(device)
    kind = resolve_loader(loader, data, resolved_device)
    threads = threads or recipe.threads or torch.get_num_threads()
    return Context(data, recipe, resolved_device, kind, Path(workspace), threads, loggers=logs)
