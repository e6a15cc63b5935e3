"""Histograms of scores: their tick labels are plain text, also on a logarithmic axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.report.dataset_files import ScoresFile
from datapruning.report.sections.histograms import score_figure


def test_skewed_scores_have_a_logarithmic_axis_with_plain_labels(digits: Dataset) -> None:
    values = np.zeros(digits.total, np.float32)
    values[:40] = np.linspace(0.1, 1, 40)
    scores = Scores(values, ScoresMetadata(**common_fields(digits), scorer="forgetting"))
    figure = score_figure(ScoresFile("forgetting", Path("s.npz"), scores), {})
    svg = figure.svg.decode()
    assert "mathdefault" not in svg
    assert ">1k<" in svg, "the axis is logarithmic, up to the 1,398 samples of one score"
