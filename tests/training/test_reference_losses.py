"""The losses of 20 steps in every mode of the trainer, against committed reference values.

`reference_losses.json` was written by the trainer of commit 1bddbfc with the same networks, samples and seeds, the
one with InfoBatch since last batches of fewer than 8 samples are avoided (`batch_sizes`). Bits depend on the processor
and on torch; `python -m benchmarks.trainer_bits` compares them on one machine. bf16 is left out: its sums differ between
processors by more than the tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datapruning.data.dataset import Dataset
from datapruning.runs.context import Context
from datapruning.training.nan_guard import NonFiniteGuard
from tests.robustness.test_resume import CASES, SHORT, train

REFERENCE: dict[str, list[float]] = json.loads((Path(__file__).parent / "reference_losses.json").read_text())
NUM_STEPS = 20


def test_every_mode_has_a_reference() -> None:
    assert set(REFERENCE) == set(CASES) - {"bf16"}


@pytest.mark.parametrize("case", REFERENCE)
def test_losses_are_those_of_the_reference(
    make_context: Callable[..., Context], small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    losses: list[float] = []
    record = NonFiniteGuard.record

    def watched(self: NonFiniteGuard, loss: Any, location: Any) -> None:
        losses.append(float(loss.detach()))
        record(self, loss, location)

    monkeypatch.setattr(NonFiniteGuard, "record", watched)
    context = make_context(small_dataset)
    options = CASES[case](context)
    training = options.get("training", SHORT)
    options["training"] = training.replace(epochs=max(5, training.epochs))
    if "num_steps" in options:
        options["num_steps"] = NUM_STEPS
    train(context, **options)
    assert losses[:NUM_STEPS] == pytest.approx(REFERENCE[case], rel=1e-5)
    assert len(REFERENCE[case]) == NUM_STEPS
