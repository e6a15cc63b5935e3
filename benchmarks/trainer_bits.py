"""Two checkouts train the same students in every mode of the trainer; their weights and losses are compared bit by bit.

    python -m benchmarks.trainer_bits --before CHECKOUT [--after CHECKOUT] [--only MODE,...]

Run it before a change of the trainer lands: CHECKOUT is a clone at the commit before the change. Both train here, with one
thread, on the embedded digits. A mode that differs is named with the first epoch whose loss differs. Bits depend on the
processor and on torch, so nothing is compared across machines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from benchmarks.common import RESULTS, table

ROOT = Path(__file__).resolve().parent.parent
BASE = [
    "train", "--threads", "1", "--device", "cpu", "--fraction", "0.2", "--set", "train.model=tinynet8",
    "--set", "train.epochs=4", "--set", "train.batch_size=32", "--set", "teacher.model=tinynet8",
    "--set", "teacher.epochs=2",
]  # fmt: skip
NO_KD, KD, AUTO = ["--kd-weight", "0"], ["--kd-weight", "0.6"], ["--kd-weight", "auto"]


def sets(*changes: str) -> list[str]:
    """Return the `--set` options of the changes."""
    return [word for change in changes for word in ("--set", change)]


MODES: dict[str, list[str]] = {
    "plain": NO_KD,
    "cosine, label smoothing": [*NO_KD, *sets("train.schedule=cosine", "train.label_smoothing=0.1")],
    "step schedule, budget in steps": [
        *NO_KD, *sets("train.schedule=step", "train.milestones=[0.4, 0.7]", "train.budget=steps", "train.epochs=2"),
    ],
    "AdamW": [*NO_KD, *sets("train.optimizer=adamw", "train.lr=0.003")],
    "EMA, clipping": [*NO_KD, *sets("train.ema=0.9", "train.clip_grad_norm=0.5")],
    "gradient accumulation": [*NO_KD, *sets("train.batch_size=8", "train.grad_accum_steps=4")],
    "bf16": [*KD, *sets("train.precision=bf16")],
    "InfoBatch": [*NO_KD, *sets("train.infobatch=0.5", "train.epochs=6")],
    "InfoBatch, EMA, accumulation, KD": [
        *KD, *sets("train.infobatch=0.5", "train.ema=0.9", "train.batch_size=8", "train.grad_accum_steps=2"),
    ],
    "CutMix": [*KD, *sets("cutmix.prob=0.8")],
    "random resized crops": [*NO_KD, *sets("views.scale=[0.25, 1.0]", "views.crop=0")],
    "KD 0.6": KD,
    "KD 1": ["--kd-weight", "1"],
    "KD auto": AUTO,
    "KD auto, CS-KD": [*AUTO, "--self-distill", "cs-kd"],
    **{f"self-distillation {name}": [*NO_KD, "--self-distill", name] for name in ("cs-kd", "ps-kd", "dlb", "tf-kd")},
    "self-distillation tf-kd-self": [*NO_KD, "--self-distill", "tf-kd-self"],
    "DLB, KD": [*KD, "--self-distill", "dlb"],
    "weight masks (ProsPr)": [*NO_KD, "--sparsity", "0.8", "--criterion", "prospr"],
    "weight masks (EPSD), CS-KD, KD": [*KD, "--sparsity", "0.8", "--self-distill", "cs-kd"],
    "weight masks (SNIP), InfoBatch, EMA": [
        *NO_KD, "--sparsity", "0.8", "--criterion", "snip", *sets("train.infobatch=0.5", "train.ema=0.9"),
    ],
    "torch.compile": [*NO_KD, *sets("train.compile=true", "train.epochs=2")],
    "stopped after every epoch and resumed": [*KD, *sets("train.ema=0.9"), "--max-seconds", "0.001"],
}  # fmt: skip
TORCHRUN = ("plain", "gradient accumulation", "InfoBatch, EMA, accumulation, KD", "DLB, KD", "self-distillation cs-kd")
"""Modes that are trained once more by two processes."""
FORMER_NAMES = {
    "train.clip_grad_norm": "train.clip", "train.grad_accum_steps": "train.accumulate", "cutmix.prob": "mix.cutmix",
    "--sparsity": "--epsd", "--criterion": "--prune-by",
}  # fmt: skip
"""What options and keys were called before the layers were made."""
DRIVER = """
import json, sys
from datapruning.cli.main import run
for name, words in json.loads(sys.argv[1]):
    while (code := run(words)) == 3:  # stopped by --max-seconds
        pass
    if code:
        sys.exit(f"{name}: exit code {code}")
"""


def words_for(checkout: Path, mode: str) -> list[str]:
    """Return the command of a mode with the option names of a checkout."""
    words = [*BASE, *MODES[mode]]
    code = "".join(path.read_text(encoding="utf-8") for path in (checkout / "datapruning").rglob("*.py"))
    for now, former in FORMER_NAMES.items():
        table, _, key = now.rpartition(".")
        option = f"{now.removeprefix('--')}: Annotated"
        known = option if not table else "class CutMixPolicy" if table == "cutmix" else f"{key}:"
        if known not in code:
            words = [former + word.removeprefix(now) if word.startswith(now) else word for word in words]
    return words


def train_all(checkout: Path, folder: Path, modes: list[str]) -> None:
    """Train every mode into its folder in one process, then some of them in two processes."""
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout), "DPRUNE_QUIET": "1", "OMP_NUM_THREADS": "1"}
    commands = [(mode, [*words_for(checkout, mode), "--out", str(folder / mode)]) for mode in modes]
    subprocess.run([sys.executable, "-c", DRIVER, json.dumps(commands)], cwd=folder, env=environment, check=True)
    for mode in [mode for mode in modes if mode in TORCHRUN]:
        words = [*words_for(checkout, mode), "--out", str(folder / f"{mode}, two processes")]
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "datapruning", *words]
        subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)


def rows_of(run: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def compare(before: Path, after: Path) -> str:
    """Describe the differences between two runs; "" for none."""
    for old, new in zip(rows_of(before), rows_of(after), strict=True):
        for key in ("loss", "train_accuracy", "lr", "step"):
            if old[key] != new[key]:
                return f"{key} of epoch {old['epoch']}: {old[key]!r}, then {new[key]!r}"
    old_weights, new_weights = (load_file(run / "model.safetensors") for run in (before, after))
    differing = [name for name, value in old_weights.items() if not np.array_equal(value, new_weights[name], equal_nan=True)]
    return f"{len(differing)} of {len(old_weights)} weights, the first {differing[0]}" if differing else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit before")
    parser.add_argument("--after", type=Path, default=ROOT, help="checkout of the commit after; default: this one")
    parser.add_argument("--only", help="modes, with | between")
    args = parser.parse_args()
    modes = args.only.split("|") if args.only else list(MODES)
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("before", "after")]
        for checkout, folder in zip((args.before.resolve(), args.after.resolve()), folders, strict=True):
            train_all(checkout, folder, modes)
        names = [*modes, *(f"{mode}, two processes" for mode in modes if mode in TORCHRUN)]
        differences = {name: compare(*(folder / name for folder in folders)) for name in names}
    lines = [[name, difference or "the same bits"] for name, difference in differences.items()]
    commits = [
        subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=path, capture_output=True, text=True, check=True
        ).stdout.strip()
        for path in (args.before, args.after)
    ]
    text = (
        f"Weights and losses of students trained by commit {commits[0]} and by commit {commits[1]} on one machine, one "
        "thread: digits, 20% kept at random, tinynet8. `python -m benchmarks.trainer_bits --before CHECKOUT`\n\n"
        + table(["mode", "difference"], lines) + "\n"
    )  # fmt: skip
    print(text)
    if not args.only:
        (RESULTS / "trainer_bits.md").write_text(text)
    sys.exit(any(differences.values()))


if __name__ == "__main__":
    main()
