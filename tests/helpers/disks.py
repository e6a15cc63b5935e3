"""Small tmpfs disks in a mount namespace, for tests that need a disk that is really full or read-only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT_ROOT = Path(__file__).parent.parent.parent
PRELUDE = """
import json, os, subprocess, sys
from pathlib import Path
DISK = Path(sys.argv[1])
def remount(size):
    "Remount the disk with a size in kB, or with a mount option such as ro."
    option = f"size={size}k" if isinstance(size, int) else size
    subprocess.run(["mount", "-o", f"remount,{option}", str(DISK)], check=True)
def list_files():
    "Return the paths of all files on the disk except locks."
    return sorted(str(p.relative_to(DISK)) for p in DISK.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
def print_result(value):
    print(json.dumps(value))
"""


def run_on_disk(folder: Path, kilobytes: int, code: str, *arguments: str) -> Any:
    """Run Python code with a disk of `kilobytes` mounted at `folder` and return what it passes to `print_result`.

    The code can use `DISK`, `remount`, `list_files` and `print_result`; `arguments` are sys.argv[2:].
    """
    folder.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size={kilobytes}k none "$1" && cd "$1" && shift && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(folder), sys.executable, "-c", PRELUDE + code, str(folder)]
    process = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "OMP_NUM_THREADS": "1", "DPRUNE_QUIET": "1"},
    )
    assert process.returncode == 0, (process.returncode, process.stderr)
    return json.loads(process.stdout.splitlines()[-1])


def can_mount_tmpfs(folder: Path) -> bool:
    """Whether this machine allows mounting a tmpfs in a user namespace."""
    try:
        run_on_disk(folder, 64, "print_result(1)")
    except (AssertionError, OSError):
        return False
    return True


@pytest.fixture(scope="session")
def requires_tmpfs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test if no tmpfs can be mounted."""
    if not can_mount_tmpfs(tmp_path_factory.mktemp("disk")):
        pytest.skip("needs unshare -rm and tmpfs (Linux, user namespaces)")
