"""Out of memory and failing GPUs: one line with a remedy, and saved work is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datapruning.errors import DeviceError, InvalidValue, OutOfMemory
from datapruning.io.trial_store import TrialStore
from datapruning.training.step import optimizer_step
from datapruning.utils.device_errors import as_device_error, translate_device_errors
from tests.conftest import CommandResult, fast_options

OF_A_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB")
OF_THE_MACHINE = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9."
)
LOST = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported")


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (OF_A_GPU, "the GPU's memory"),
        (RuntimeError("CUDA error: out of memory"), "the GPU's memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "the GPU's memory"),
        (OF_THE_MACHINE, "the machine's memory"),
        (MemoryError(), "the machine's memory"),
        (MemoryError("Unable to allocate 3.00 GiB for an array with shape (3, 1024, 1024)"), "the machine's memory"),
    ],
)
def test_out_of_memory_names_the_batch_size_and_a_remedy(error: Exception, whose: str) -> None:
    translated = as_device_error(error, "student", 128, 2)
    assert isinstance(translated, OutOfMemory)
    message = str(translated)
    assert message.startswith(f"student: {whose} is too small for 128 samples at a time (")
    assert message.endswith("or set train.batch_size=64 and train.grad_accum_steps=4, which keeps the effective batch")
    assert "\n" not in message
    assert isinstance(as_device_error(error, "labels"), OutOfMemory), "where no setting says how many go at a time"


def test_an_operation_without_a_deterministic_algorithm_is_named() -> None:
    message = "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_deterministic'"
    translated = as_device_error(RuntimeError(message), "student")
    assert isinstance(translated, InvalidValue)
    expected = "student: deterministic = true refuses an operation of this network: cumsum_cuda_kernel"
    assert str(translated).startswith(expected)


@pytest.mark.parametrize(("size", "grad_accum_steps", "half", "more"), [(2, 3, 1, 6), (5, 1, 2, 3), (300, 1, 150, 2)])
def test_gradient_accumulation_keeps_the_step_size(size: int, grad_accum_steps: int, half: int, more: int) -> None:
    assert f".batch_size={half} and train.grad_accum_steps={more}," in str(
        as_device_error(MemoryError(), "x", size, grad_accum_steps)
    )
    assert half * more >= size * grad_accum_steps


@pytest.mark.parametrize(
    ("doing", "table"), [("student", "train"), ("teacher", "teacher"), ("proxy 2", "proxy"), ("member", "ensemble_member")]
)
def test_the_hint_names_the_table_of_what_is_trained(doing: str, table: str) -> None:
    assert f"set {table}.batch_size=4 " in str(as_device_error(MemoryError(), doing, 8))
    assert "batch_size" not in str(as_device_error(MemoryError(), doing, 1)), "less than one sample at a time there is not"


@pytest.mark.parametrize(
    "message", [str(LOST), "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "CUDA driver error: device lost"]
)
def test_a_failing_gpu_is_reported_in_one_line(message: str) -> None:
    translated = as_device_error(RuntimeError(message), "student")
    assert isinstance(translated, DeviceError)
    rest = "what was saved stays, and the same command resumes from there"
    assert str(translated) == f"student: the GPU failed ({message.splitlines()[0]}); {rest}"


@pytest.mark.parametrize("other", [RuntimeError("shapes do not fit"), RuntimeError(""), ValueError("CUDA error")])
def test_other_errors_stay_what_they_are(other: Exception) -> None:
    assert as_device_error(other, "student") is None
    with pytest.raises(type(other)), translate_device_errors("student"):
        raise other


@pytest.mark.parametrize(
    ("error", "message"),
    [(OF_A_GPU, "student: the GPU's memory is too small for 64 samples"), (LOST, "student: the GPU failed (CUDA error: ")],
)
def test_a_student_resumes_after_a_device_error(
    dprune: Callable[..., CommandResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    arguments = ["train", "--fraction", "0.3", "--kd-weight", "0", "--device", "cpu", *fast_options()]
    arguments += ["--set", "train.epochs=3", "--set", "train.batch_size=64"]
    updates = list[int]()

    def fails(*given: Any) -> Any:
        updates.append(1)
        if len(updates) == 17:  # in the third epoch of seven updates
            raise error
        return optimizer_step(*given)

    with monkeypatch.context() as patch:
        patch.setattr("datapruning.training.checkpoint.SAVE_INTERVAL_SECONDS", 0.0)
        patch.setattr("datapruning.training.trainer.optimizer_step", fails)
        ended = dprune(*arguments, "--out", "a")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(f"dprune: {message}")
    assert (tmp_path / "a" / "checkpoint" / "state.safetensors").exists()
    assert dprune(*arguments, "--out", "a").code == 0
    assert dprune(*arguments, "--out", "b").code == 0
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_memory_elsewhere_is_one_line(dprune: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise MemoryError("Unable to allocate 3.00 GiB for an array")

    monkeypatch.setattr("datapruning.recipes.names", fails)
    command = dprune("recipes")
    assert (command.code, command.out, command.err.count("\n")) == (1, "", 1)
    assert command.err.startswith("dprune: the machine's memory is too small (Unable to allocate 3.00 GiB for an array)")


def test_out_of_memory_fails_one_trial_and_a_lost_gpu_none(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, {})

    def work(config: Any) -> Any:
        if config["n"] == 0:
            raise MemoryError
        raise LOST

    failures = store.run_remaining([{"n": 0}], work)
    assert "MemoryError" in next(iter(failures)).error  # type: ignore[union-attr]
    with pytest.raises(DeviceError, match="a trial: the GPU failed"):
        store.try_run({"n": 1}, work)
    assert store.failure({"n": 1}) is None
    assert not list((tmp_path / "running").glob("[!.]*"))


def test_real_out_of_memory_errors_are_translated() -> None:
    with pytest.raises(OutOfMemory, match="the machine's memory"), translate_device_errors("x"):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(OutOfMemory, match="the machine's memory"), translate_device_errors("x"):
        np.empty(2**60, np.uint8)
