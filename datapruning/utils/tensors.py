"""What other training loops pass for a tensor: one, a NumPy array, or lists of numbers."""

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from datapruning.errors import InvalidValue, first_line


def as_tensor(values: ArrayLike | Tensor, name: str) -> Tensor:
    """The numbers as a tensor, a tensor as it is; `name` names them in messages.

    Raises:
        InvalidValue: no numbers, or rows of several lengths.
    """
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(values).__name__
        raise InvalidValue(f"{name}: a tensor or an array of numbers is needed, got {kind} ({first_line(error)})") from None
