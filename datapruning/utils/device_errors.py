"""What memory and GPUs can refuse: their exceptions, of many kinds, become one line that says what helps."""

from collections.abc import Iterator
from contextlib import contextmanager

from datapruning.errors import DataPruningError, DeviceError, InvalidValue, OutOfMemory, first_line

OOM_MARKERS = ("out of memory", "can't allocate memory", "unable to allocate", "alloc_failed")
"""What torch says of a GPU, torch of the machine, numpy of the machine, and cuBLAS and cuDNN of a GPU."""
NOT_DETERMINISTIC_MARKER = "does not have a deterministic implementation"
TABLES = {"teacher": "teacher", "proxy": "proxy", "member": "ensemble_member"}
"""Tables of the recipe, by what is trained; all else is a student, [train]."""
DEVICE_LOST_MARKERS = (
    "cuda error",
    "cuda driver error",
    "cublas error",
    "cublas_status",
    "cudnn error",
    "cudnn_status",
    "hip error",
)
"""What torch and its libraries say of a GPU that failed."""


@contextmanager
def translate_device_errors(doing: str, batch_size: int | None = None, grad_accum_steps: int = 1) -> Iterator[None]:
    """Around work on a device: see `as_device_error`.

    Raises:
        OutOfMemory, DeviceError: in the place of torch's and numpy's own.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        translated = as_device_error(error, doing, batch_size, grad_accum_steps)
        if translated is None:
            raise
        raise translated from error


def as_device_error(
    error: BaseException, doing: str, batch_size: int | None = None, grad_accum_steps: int = 1
) -> DataPruningError | None:
    """What an exception of torch, numpy or Python says of memory or a GPU; None: it is about something else.

    `doing` is what was done, such as "student"; `batch_size` samples went through the network at a time, where a setting
    says so, in `grad_accum_steps` batches an update.
    """
    message = first_line(error).strip()
    words = message.lower()
    if isinstance(error, MemoryError) or any(sign in words for sign in OOM_MARKERS):
        gpu = "cuda" in words or "cublas" in words or "hip" in words
        whose = "the GPU's memory" if gpu else "the machine's memory"
        if batch_size is None or batch_size < 2:
            what = "the device cpu" if gpu else "the loader ffcv, which holds no images in memory"
            return OutOfMemory(f"{doing}: {whose} is too small ({message}): end what else uses it, or try {what}")
        half = batch_size // 2
        batches = -(-batch_size * grad_accum_steps // half)
        table = next((table for word, table in TABLES.items() if doing.startswith(word)), "train")
        return OutOfMemory(
            f"{doing}: {whose} is too small for {batch_size} samples at a time ({message}): end what else uses it, or "
            f"set {table}.batch_size={half} and {table}.grad_accum_steps={batches}, which keeps the effective batch"
        )
    if isinstance(error, RuntimeError) and NOT_DETERMINISTIC_MARKER in words:
        return InvalidValue(f"{doing}: deterministic = true refuses an operation of this network: {message}")
    if isinstance(error, RuntimeError) and any(sign in words for sign in DEVICE_LOST_MARKERS):
        return DeviceError(
            f"{doing}: the GPU failed ({message}); what was saved stays, and the same command resumes from there"
        )
    return None
