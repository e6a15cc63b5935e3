"""The report's dataset: opened as the runs recorded it, with the decoded images of their workspace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import datapruning as dp
from datapruning.errors import InvalidFile
from datapruning.report.find_runs import RunCollection
from datapruning.report.inputs import open_data
from tests.helpers.image_files import make_image_folder


def test_images_are_not_decoded_again_in_another_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_image_folder(tmp_path / "pets")
    data = dp.open_dataset(str(root), image_size=8, workspace=tmp_path / "work")
    run_result = SimpleNamespace(fingerprint=data.fingerprint, dataset=data.name)
    run: Any = SimpleNamespace(config={"environment": {"data": data.source}}, result=run_result)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    dataset, reason = open_data(RunCollection([run], roots=[tmp_path / "sweep", tmp_path / "work"]), None, None)
    assert dataset is not None
    assert (dataset.fingerprint, reason) == (data.fingerprint, "")
    assert not list((tmp_path / "elsewhere").iterdir())
    (root / "train" / "cats" / "0.jpg").unlink()
    dataset, reason = open_data(RunCollection([run], roots=[tmp_path / "work"]), None, None)
    assert dataset is None
    assert "its fingerprint differs" in reason
    with pytest.raises(InvalidFile, match="is not there"):
        open_data(RunCollection([run]), str(tmp_path / "absent"), None)
