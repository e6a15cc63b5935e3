"""What each part of the fast recipe is worth on CIFAR-100: left out of it, or added to it.

    DPRUNE_DATA=... python -m benchmarks.fast_ablation [--jobs 2] [--report-only]

`$DPRUNE_DATA` holds `cifar100.npz`. fastnet32 sees 50,000 samples: 5 epochs of a random 10,000 of the images, because
alternating flips and progressive resizing change from epoch to epoch. About 1.5 minutes of one core a row; rows are
committed, so stop it and start it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

import datapruning as dp
from benchmarks.committed import run_rows
from benchmarks.common import mean_spread, publish, table
from benchmarks.fast_speed import PRECISION_TEXT, cifar100_context, summarise
from datapruning.models.fastnet import PATCH, Group, fastnet
from datapruning.utils.hashing import config_hash

WIDTH, FRACTION, SAMPLES, SEEDS = 32, "0.2", 50_000, (0, 1)
FULL = "the full recipe"
SGD_RATES = (0.1, 0.3, 1.0)
BIAS_RATE = 5.12
"""The recipe's learning rate of biases: sgd_lr times bias_lr_factor. It stays where SGD trains the other weights, too."""


def without_whitening(channels: int, classes: int) -> nn.Module:
    """A fastnet whose first layer is an ordinary convolution, drawn at random and trained."""
    network = fastnet(channels, classes, width=WIDTH)
    assert isinstance(network, nn.Sequential)
    network[0] = nn.Conv2d(channels, 2 * channels * PATCH**2, PATCH)
    return network


def without_identity(channels: int, classes: int) -> nn.Module:
    """A fastnet whose 3x3 convolutions are drawn at random, as torch draws them."""
    network = fastnet(channels, classes, width=WIDTH)
    for group in network.modules():
        if isinstance(group, Group):
            group.conv1.reset_parameters()
            group.conv2.reset_parameters()
    return network


def sgd(rate: float) -> tuple[str, ...]:
    """Settings of SGD with Nesterov momentum for all weights."""
    return ("train.optimizer=sgd", f"train.lr={rate}", f"train.bias_lr_factor={BIAS_RATE / rate}")


CHANGES: dict[str, tuple[str, ...]] = {
    FULL: (),
    **{f"SGD at {rate:g} for Muon": sgd(rate) for rate in SGD_RATES},
    "no whitening": ("train.model=benchmarks.fast_ablation:without_whitening",),
    "no identity initialisation": ("train.model=benchmarks.fast_ablation:without_identity",),
    "biases at the learning rate of the last layer": ("train.bias_lr_factor=1",),
    "no label smoothing": ("train.label_smoothing=0",),
    "random flips for alternating ones": ("views.alternate_flips=false",),
    "black padding for reflected": ("views.padding=black",),
    "with lookahead 0.5": ("train.lookahead=0.5",),
    "with images of 20x20 in the first half": ("train.progressive_size=20",),
}
COMMAND = "DPRUNE_DATA=... python -m benchmarks.fast_ablation"


def config(name: str, seed: int) -> dict[str, Any]:
    """The configuration of a trial."""
    return {"changes": list(CHANGES[name]), "fraction": FRACTION, "samples": SAMPLES, "width": WIDTH, "seed": seed}


def train_network(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """Train a changed network on random images, by labels alone."""
    changes = (f"train.model=fastnet{config['width']}", *config["changes"])
    context = cifar100_context("cifar100-fast", workspace, changes)
    run = dp.train(context, fraction=config["fraction"], kd_weight=0, samples=config["samples"], seed=config["seed"])
    return summarise(run.result)


def main() -> None:
    configs = {name: [config(name, seed) for seed in SEEDS] for name in CHANGES}
    ordered = [trials[number] for number in range(len(SEEDS)) for trials in configs.values()]
    rows = run_rows("fast_ablation", ordered, train_network, __doc__)
    results = {config_hash(row["config"]): row["result"] for row in rows}
    references = {seed: results.get(config_hash(config(FULL, seed))) for seed in SEEDS}
    lines = []
    for name, trials in configs.items():
        finished = [(trial["seed"], results[key]) for trial in trials if (key := config_hash(trial)) in results]
        differences = [
            result["test_accuracy"] - reference["test_accuracy"]
            for seed, result in finished
            if name != FULL and (reference := references[seed])
        ]
        if finished:
            lines.append([
                name, mean_spread([result["test_accuracy"] for _, result in finished]),
                mean_spread(differences) if differences else "", f"{finished[0][1]['flops'] / 1e12:.2f}",
            ])  # fmt: skip
    body = (
        f"CIFAR-100, fastnet{WIDTH}, labels alone, a random {FRACTION} of the training images, {SAMPLES:,} samples seen; "
        "differences are paired by seed, which draws the subset, too. Under SGD the biases keep their learning rate "
        f"({BIAS_RATE}); all rates that were tried are shown. Without whitening the first layer is an ordinary convolution "
        f"that is trained. {PRECISION_TEXT}\n\n{table(['change', 'accuracy', 'against the full recipe', 'TFLOP'], lines)}"
    )
    publish("fast_ablation", "What each part of the fast recipe is worth", COMMAND, body, {"rows": rows})


if __name__ == "__main__":
    main()
