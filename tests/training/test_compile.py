"""torch.compile: reproducible bits, close to those of the uncompiled network, and one line if it fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.io.tensors import load_tensors
from datapruning.runs.context import Context
from tests.conftest import CommandResult, fast_options

NET = """
from torch import nn

def net(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 8), nn.ReLU(), nn.Linear(8, classes))
"""


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_compiled_run_has_the_same_bits_again(
    make_context: Callable[..., Context], small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compiled_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    settings = ("train.model=compiled_net:net", "train.batch_size=60", "train.lr=0.01")

    def trained(position: str, *more: str) -> dict[str, Tensor]:
        context = make_context(small_dataset, *settings, *more, workspace=tmp_path / position)
        return load_tensors(dp.train(context, fraction=1, kd_weight=0).folder / "model.safetensors")[0]

    uncompiled, first, repeated = trained("a"), trained("b", "train.compile=true"), trained("c", "train.compile=true")
    for name, weight in first.items():
        assert torch.equal(weight, repeated[name])
        torch.testing.assert_close(weight, uncompiled[name], rtol=1e-4, atol=1e-5)


def test_a_failing_compiler_is_reported_in_one_line(
    dprune: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failed(RuntimeError):
        """As torch's own."""

    Failed.__module__ = "torch._inductor.exc"

    def stand_in(model: nn.Module, *, dynamic: bool) -> Callable[[Tensor], Tensor]:
        def call(images: Tensor) -> Tensor:
            raise Failed("InvalidCxxCompiler: No working C++ compiler found\nmuch more")

        return call

    monkeypatch.setattr(torch, "compile", stand_in)
    command = dprune("train", "--fraction", 0.5, "--kd-weight", 0, "--set", "train.compile=true", *fast_options())
    assert command.code == 2
    why = "InvalidCxxCompiler: No working C++ compiler found"
    line = f"dprune: train.compile: torch.compile fails here ({why}); set it to false"
    assert command.err.splitlines()[-1] == line


def test_an_error_of_the_network_is_not_attributed_to_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from datapruning.training.reproducibility import compiled

    def breaks(images: Tensor) -> Tensor:
        raise ZeroDivisionError

    monkeypatch.setattr(torch, "compile", lambda model, dynamic: breaks)
    with pytest.raises(ZeroDivisionError):
        compiled(nn.Identity())(torch.zeros(1))
    with pytest.raises(InvalidValue, match="compile and infobatch"):
        dp.open_context(dp.open_dataset("digits"), changes=["train.compile=true", "train.infobatch=0.5"])
