"""What `pip install .` takes in empty environments: seconds and megabytes, with and without a compiler and OpenCV headers.

    python -m benchmarks.install [--python python3.12 ...] [--torch REQUIREMENTS ...] [--pip OPTIONS]

In an empty environment of each Python: torch and torchvision first (`--torch` names their builds, such as
"torch==2.13.0+cpu torchvision"), then this checkout with no compiler and no pkg-config files in sight, then a few commands.
In the environment of the first Python the extra `ffcv` is added, without the headers, which must fail, and with them. The
environments are temporary; each takes gigabytes with torch's default build.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import publish, table

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "datapruning", "scorers", "teachers", "recipes")
QUICK = ("--set", "train.epochs=1", "--set", "teacher.epochs=1")
COMMANDS = (
    ("--version",),
    ("score", "--scorer", "random", "--out", "random.npz"),
    ("train", "--fraction", "0.3", "--kd-weight", "0.5", "--out", "student", *QUICK),
    ("export", "student", "--out", "student.onnx"),
    ("evaluate", "student"),
)
FFCV_COMMAND = ("train", "--fraction", "0.3", "--kd-weight", "0", "--loader", "ffcv", "--out", "student-ffcv", *QUICK)


def environment(folder: Path, headers: bool) -> dict[str, str]:
    """The variables of a process; without `headers` it finds neither a compiler nor pkg-config files."""
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")}
    if headers:
        return variables
    empty = folder / "no-tools"
    empty.mkdir(exist_ok=True)
    return {**variables, "PATH": str(empty), "PKG_CONFIG_LIBDIR": str(empty), "CC": "no-compiler", "CXX": "no-compiler"}


def call(command: list[Any], folder: Path, headers: bool = False) -> tuple[float, str]:
    """Run a program; returns (seconds, the last line of its error, which is empty where it succeeded)."""
    started = time.perf_counter()
    process = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment(folder, headers), capture_output=True, text=True
    )
    error = "" if process.returncode == 0 else (process.stderr.strip().splitlines() or ["?"])[-1]
    return time.perf_counter() - started, error


def megabytes(folder: Path) -> int:
    """Size of the files in a folder."""
    return round(sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6)


def try_python(python: str, torch: str, pip_options: list[str], with_ffcv: bool) -> list[dict[str, Any]]:
    """Install everything into an empty environment of a Python: a row for each step."""
    version = subprocess.check_output([python, "-c", "import platform; print(platform.python_version())"], text=True).strip()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        venv, checkout = folder / "venv", folder / "checkout"
        subprocess.check_call([python, "-m", "venv", str(venv)])
        checkout.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, checkout)
        pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", *pip_options]

        def step(name: str, command: list[Any], headers: bool = False) -> str:
            before = megabytes(venv)
            seconds, error = call(command, folder, headers)
            row = {
                "python": version,
                "step": name,
                "seconds": seconds,
                "megabytes": megabytes(venv) - before,
                "error": error,
            }
            rows.append(row)
            print(row, file=sys.stderr)
            return error

        def try_commands(name: str, commands: Any) -> None:
            started = time.perf_counter()
            errors = [call([venv / "bin" / "dprune", *words], folder)[1] for words in commands]
            error = next((error for error in errors if error), "")
            rows.append({"python": version, "step": name, "seconds": time.perf_counter() - started, "error": error})

        step(f"`pip install {torch}`", [*pip, *torch.split()])
        step("`pip install .`, no compiler, no headers", [*pip, checkout])
        try_commands("`dprune` --version, score, train with a teacher, export to ONNX, evaluate", COMMANDS)
        if with_ffcv:
            step("`pip install '.[ffcv]'`, no compiler, no headers", [*pip, f"{checkout}[ffcv]"])
            if not step("`pip install '.[ffcv]'`, with them", [*pip, f"{checkout}[ffcv]"], headers=True):
                try_commands("`dprune train --loader ffcv`", [FFCV_COMMAND])
    return rows


def write(rows: list[dict[str, Any]]) -> None:
    """Publish the rows of all Pythons so far."""
    lines = [
        [
            row["python"],
            row["step"],
            f"{row['seconds']:.0f}",
            str(row.get("megabytes", "")),
            "fails" if row["error"] else "works",
        ]
        for row in rows
    ]
    body = (
        "Empty environments, pip without its cache. Other programs shared the machine: on an idle one it takes less "
        "time.\n\n" + table(["Python", "step", "seconds", "megabytes more", "outcome"], lines)
    )
    publish("install", "Installation in an empty environment", "python -m benchmarks.install", body, {"rows": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="Pythons, 3.11 or newer")
    parser.add_argument(
        "--torch", nargs="+", default=["torch torchvision"], help="what torch is installed as; one, or one for each Python"
    )
    parser.add_argument("--pip", default="", help="options for pip, such as an index of CPU builds")
    args = parser.parse_args()
    builds = args.torch * (len(args.python) // len(args.torch))
    rows: list[dict[str, Any]] = []
    for number, (python, torch) in enumerate(zip(args.python, builds, strict=True)):
        rows += try_python(python, torch, args.pip.split(), with_ffcv=number == 0)
        write(rows)


if __name__ == "__main__":
    main()
