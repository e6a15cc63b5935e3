"""The cores that a process may use, and the threads that follow from them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datapruning.runs import hardware
from datapruning.runs.hardware import THREAD_FLOPS, Hardware
from datapruning.utils import system
from datapruning.utils.system import available_cpus
from tests.conftest import make_dataset


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "nonsense\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"own": "0::/jobs/mine\n", "jobs/mine/cpu.max": "max 100000\n", "jobs/cpu.max": "350000 100000\n"}, 3),
        ({"own": "0::/jobs/mine\n", "jobs/mine/cpu.max": "600000 100000\n", "cpu.max": "500000 100000\n"}, 5),
        ({"own": "0::/\n", "jobs/cpu.max": "100000 100000\n"}, 8),
        (
            {
                "own": "12:memory:/x\n5:cpu,cpuacct:/jobs\n1:name=systemd:/\n",
                "cpu/jobs/cpu.cfs_quota_us": "300000\n",
                "cpu/jobs/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ({"own": "what is this\n"}, 8),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(system.os, "process_cpu_count", lambda: 8, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path, tmp_path / "own") == expected


@pytest.mark.parametrize(
    ("given", "recipe", "flops", "expected"),
    [
        (16, 2, 1, 16),  # what the user names is taken
        (None, 2, 1, 2),  # the recipe's number, at most the cores
        (None, 6, 1, 4),
        (None, 0, THREAD_FLOPS // 2, 1),  # a network that is too small for threads
        (None, 0, 3 * THREAD_FLOPS, 3),
        (None, 0, 100 * THREAD_FLOPS, 4),
    ],
)
def test_threads_follow_from_cores_and_network(
    given: int | None, recipe: int, flops: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "available_cpus", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    chosen = Hardware("cpu", "memory", given, make_dataset(16), recipe, lambda: flops)
    assert chosen.threads == expected


def test_workers_elsewhere_have_the_threads_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "available_cpus", lambda: 1)
    local = Hardware("cpu", "memory", None, make_dataset(16), 8)
    assert (local.threads, replace(local, is_remote=True).threads) == (1, 8)
