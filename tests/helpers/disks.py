"""Small disks of our own: a tmpfs in a mount namespace, for tests that need one that is really full or read-only."""

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
def resize(size):
    "A disk of so many kB, or, with a word such as ro, of other options."
    option = f"size={size}k" if isinstance(size, int) else size
    subprocess.run(["mount", "-o", f"remount,{option}", str(DISK)], check=True)
def left():
    "What lies on the disk but for locks."
    return sorted(str(p.relative_to(DISK)) for p in DISK.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
def answer(value):
    print(json.dumps(value))
"""


def on_a_disk(folder: Path, kilobytes: int, code: str, *arguments: str) -> Any:
    """Run Python code on a disk of that size, mounted at `folder` for it alone. Returns what the code hands to `answer`.

    The code has `DISK`, `resize`, `left` and `answer`; `arguments` are sys.argv[2:].
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


def can_mount(folder: Path) -> bool:
    """Whether this machine lets us have disks of our own."""
    try:
        on_a_disk(folder, 64, "answer(1)")
    except (AssertionError, OSError):
        return False
    return True


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips the test where no disk can be mounted."""
    if not can_mount(tmp_path_factory.mktemp("disk")):
        pytest.skip("needs unshare -rm and tmpfs (Linux, user namespaces)")
