"""The story that files carry, and what is checked before one is trusted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from datapruning.artifacts.metadata import FORMATS, VERSION, check_format, check_same_dataset, make_metadata
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.version import __version__


@pytest.mark.parametrize("kind", FORMATS)
def test_new_meta_passes_its_own_checks(small: Dataset, kind: str) -> None:
    meta = make_metadata(kind, small, seed=3)
    check_format(Path("f.npz"), meta, kind)
    check_same_dataset("this file", meta, small)
    assert (meta["version"], meta["package_version"], meta["seed"]) == (VERSION, __version__, 3)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(meta["created"])).total_seconds()) < 60


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "datapruning.subset"}, "it is a subset file"),
        ({"format": None}, "its format is None"),
        ({"version": VERSION + 1}, f"reads version {VERSION}"),
        ({"version": str(VERSION)}, "format version"),
        ({"total": 0}, "total"),
        ({"total": 1.0}, "total"),
        ({"total": True}, "total"),
        ({"dataset": None}, "names no dataset"),
        ({"fingerprint": 7}, "names no fingerprint"),
    ],
)
def test_another_format_is_refused(small: Dataset, change: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidFile, match=named):
        check_format(Path("f.npz"), {**make_metadata("datapruning.scores", small), **change}, "datapruning.scores")


def test_another_dataset_is_refused_with_both_names_and_sizes(small: Dataset, digits: Dataset) -> None:
    with pytest.raises(IncompatibleInputs, match=r"this file .* made-up \(120 samples.*digits \(1,438 samples"):
        check_same_dataset("this file", make_metadata("datapruning.scores", small), digits)


def test_pictures_that_are_read_otherwise_are_asked_for_their_options(small: Dataset) -> None:
    few = replace(small, train=Split(small.train.images[:90], small.train.labels[:90]))
    photos, resized, others = (replace(each, content_hash="00ff") for each in (small, few, replace(few, name="others")))
    made = make_metadata("datapruning.subset", resized)
    with pytest.raises(
        IncompatibleInputs, match=r"made-up \(90 .* made-up \(120 .*; say the same --holdout and --image-size with"
    ):
        check_same_dataset("this subset", made, photos)
    for meta, data in ((made, others), (make_metadata("datapruning.subset", few), small)):
        with pytest.raises(IncompatibleInputs) as refused:
            check_same_dataset("this subset", {**meta, "fingerprint": "0"}, data)
        assert "--holdout" not in str(refused.value), "another name, or no pictures in files"
