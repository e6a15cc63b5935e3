"""Scorers: functions from evidence to one number per sample, with source and sign.

    @scorer("aum", needs=TrainingDynamics, source="Pleiss et al. 2020, section 3", sign="low margin first: flipped")
    def aum(dynamics: TrainingDynamics) -> np.ndarray: ...

Put it in a file of its own in `scorers/`, or in a package of yours that names it under the entry-point group
`datapruning.scorers`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import DataPruningError

Values = NDArray[Any]
ENTRY_POINTS = "datapruning.scorers"


@dataclass(frozen=True)
class Samples:
    """The evidence of scorers that need none: how many samples there are, and the seed."""

    total: int
    seed: int


@dataclass(frozen=True)
class Scorer:
    """A scorer and what is to be known about it.

    Attributes:
        name: on the command line.
        function: evidence -> values [N], or (values [N], standard error [N]); higher = keep first.
        needs: the evidence it reads: `Samples`, or a class of `datapruning.evidence`: `TrainingDynamics`, `FinalEvaluation`,
            `EarlyEvaluation`, `Gradients`, `Embeddings`, `SubsetEnsemble`.
        source: the paper and the section.
        cost: what its evidence costs, in words.
        sign: which samples come first, and whether the paper's sign was flipped.
    """

    name: str
    function: Callable[[Any], Values | tuple[Values, Values]]
    needs: type
    source: str
    cost: str
    sign: str

    def __call__(self, evidence: Any) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """(values, standard error or None), both float32 [N].

        Raises:
            DataPruningError: the function returned NaN, or something that is not one number a sample.
        """
        result = self.function(evidence)
        values, stderr = result if isinstance(result, tuple) else (result, None)
        for column in (values, stderr):
            if column is not None and (column.ndim != 1 or np.isnan(column).any()):
                raise DataPruningError(f"scorer '{self.name}' returned NaN or no flat array: {column.shape}")
        return values.astype(np.float32), None if stderr is None else stderr.astype(np.float32)


def scorer(name: str, *, needs: type, source: str, cost: str, sign: str) -> Callable[[Callable[[Any], Any]], Scorer]:
    """Make a scorer of a function (see the module's example)."""
    return lambda function: Scorer(name, function, needs, source, cost, sign)
