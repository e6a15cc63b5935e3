"""The metadata of files, and their checks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from datapruning.artifacts.metadata import (
    VERSION,
    ScoresMetadata,
    SubsetMetadata,
    check_same_dataset,
    common_fields,
    parse_metadata,
)
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.version import __version__


def test_new_metadata_read_back_and_pass_their_own_checks(small_dataset: Dataset) -> None:
    scores = ScoresMetadata(**common_fields(small_dataset), scorer="aum", seed=3, unreadable=(1, 4))
    meta = SubsetMetadata(
        **common_fields(small_dataset), scorer="aum", settings={"cutoff": 0.5, "strata": 10}, scores=scores
    )
    assert parse_metadata(SubsetMetadata, meta.to_json(), Path("f.npz")) == meta
    check_same_dataset("this file", meta, small_dataset)
    assert (meta.version, meta.package_version) == (VERSION, __version__)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(meta.created)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "datapruning.subset"}, "f.npz is no scores file: its format is 'datapruning.subset'"),
        ({"format": None}, "its format is None"),
        ({"version": VERSION + 1}, f"reads version {VERSION}"),
        ({"version": str(VERSION)}, "format version"),
        ({"total": 0}, "total"),
        ({"total": 1.0}, "total"),
        ({"total": True}, "total"),
        ({"dataset": None}, "dataset"),
        ({"fingerprint": 7}, "fingerprint"),
        ({"fraction": 0.5}, "the metadata of f.npz: unknown key 'fraction'"),
    ],
)
def test_other_metadata_are_refused(small_dataset: Dataset, change: dict[str, Any], message: str) -> None:
    meta = ScoresMetadata(**common_fields(small_dataset), scorer="aum").to_json()
    with pytest.raises(InvalidFile, match=message):
        parse_metadata(ScoresMetadata, {**meta, **change}, Path("f.npz"))


def test_another_dataset_is_refused_with_both_names_and_sizes(small_dataset: Dataset, digits: Dataset) -> None:
    meta = ScoresMetadata(**common_fields(small_dataset), scorer="aum")
    with pytest.raises(IncompatibleInputs, match=r"this file .* generated \(120 samples.*digits \(1,438 samples"):
        check_same_dataset("this file", meta, digits)


def test_images_that_are_read_with_other_settings_are_named_as_the_reason(small_dataset: Dataset) -> None:
    few = replace(small_dataset, train=Split(small_dataset.train.images[:90], small_dataset.train.labels[:90]))
    photos, resized, others = (
        replace(data, content_hash="00ff") for data in (small_dataset, few, replace(few, name="others"))
    )
    meta = SubsetMetadata(**common_fields(resized), scorer="ids")
    with pytest.raises(
        IncompatibleInputs, match=r"generated \(90 .* generated \(120 .*; give the same holdout and image size everywhere"
    ):
        check_same_dataset("this subset", meta, photos)
    for other, data in ((meta, others), (SubsetMetadata(**common_fields(few), scorer="ids"), small_dataset)):
        with pytest.raises(IncompatibleInputs) as refused:
            check_same_dataset("this subset", other.model_copy(update={"fingerprint": "0"}), data)
        assert "holdout" not in str(refused.value), "another name, or no images in files"
