"""`dp.KDLoss`: the loss of a student for any training loop."""

from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from datapruning.config.kd import check_kd_weight
from datapruning.errors import InvalidValue
from datapruning.training.losses import LossTerms, kd_loss
from datapruning.utils.tensors import as_tensor


class KDLoss(nn.Module):
    """(1-a) * CE(student, label) + a * T^2 * KL(teacher_T || student_T), as in our own training (docs/kd-weight.md).

    Args:
        weight: the KD weight a: 0 is labels alone, 1 the teacher alone.
        temperature: T; T^2 keeps the size of the gradient from depending on it (Hinton et al. 2015, section 2).
        label_smoothing: of the cross-entropy, 0 to 1.

    Raises:
        InvalidValue: a weight outside 0..1, a temperature that is not positive, a smoothing outside 0..1.
    """

    def __init__(self, weight: float, temperature: float = 4.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.weight = check_kd_weight(weight)
        if not 0 < temperature < float("inf"):
            raise InvalidValue(f"the temperature is a number above 0; got {temperature}")
        if not 0 <= label_smoothing <= 1:
            raise InvalidValue(f"the label smoothing lies in 0..1; got {label_smoothing}")
        self.temperature, self.label_smoothing = temperature, label_smoothing

    def forward(
        self, logits: Tensor, labels: ArrayLike | Tensor, teacher_logits: ArrayLike | Tensor | None = None
    ) -> LossTerms:
        """The loss of a batch, a mean over its samples: `total`, which is minimised, and its parts `label` and `kd`.

        Args:
            logits: of the student, float [n, classes]; a tensor, because its gradient is needed.
            labels: int64 [n]; like the teacher's logits a tensor, an array or a list, on any device.
            teacher_logits: float [n, classes] for the same images in the same views, or [teachers, n, classes] of several,
                whose probabilities are averaged. Not needed at weight 0.

        Raises:
            InvalidValue: logits that are no tensor, teacher logits of another shape, or none where they are needed.
        """
        if not isinstance(logits, Tensor):
            raise InvalidValue(f"the student's logits are a tensor, whose gradient is needed; got {type(logits).__name__}")
        targets = as_tensor(labels, "labels").to(logits.device)
        label = cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if self.weight == 0:
            return LossTerms(label, label)
        if teacher_logits is not None:
            teacher_logits = as_tensor(teacher_logits, "teacher_logits")
        if teacher_logits is None or teacher_logits.shape[-2:] != logits.shape or teacher_logits.ndim not in (2, 3):
            given = "none" if teacher_logits is None else list(teacher_logits.shape)
            raise InvalidValue(
                f"the student's logits are {list(logits.shape)}; teacher logits of this shape are needed, got {given}"
            )
        teachers = teacher_logits if teacher_logits.ndim == 3 else teacher_logits[None]
        kd = kd_loss(logits, teachers.detach().to(logits), self.temperature)
        return LossTerms(self.weight * kd + (1 - self.weight) * label, label, kd)
