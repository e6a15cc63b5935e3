"""How reliable the scores of fast proxies are, and how soon they are there, against the former proxy of CIFAR-100.

    DPRUNE_DATA=... python -m benchmarks.fast_scores [--jobs 2] [--report-only]

`$DPRUNE_DATA` holds `cifar100.npz`. Classes 40 to 59 (10,000 images). A row is a pair of recordings that share neither seeds
nor views; reliability is Spearman's rank correlation between their scores. About 7 minutes of one core a row with fastnet32,
18 with ResNet-20; rows are committed and recordings resume, so stop it and start it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

import datapruning as dp
from benchmarks.class_sets import open_set
from benchmarks.committed import Row, run_rows
from benchmarks.common import mean_spread, publish, table
from datapruning.models.flops import forward_flops

DATA = "cifar100:40-59"
SCORERS = ("forgetting", "el2n", "aum")
ONE_PROXY, ALL_PROXIES = "aum", "el2n"
"""Scorers whose cost is that of the proxy that trains to the end (`forgetting` has the same), and of all proxies."""
SCHEDULE = ("proxy.epochs=8", "evidence.runs=5", "evidence.full_runs=1", "evidence.early_epoch=2")
"""That of the fast recipe, which the other proxy takes as well."""
PROXIES: dict[str, tuple[str, ...]] = {"cifar100-fast": (), "cifar100": ("proxy.model=resnet20",)}
"""Recipe -> what its proxy changes beside the schedule."""
NETWORKS = {"cifar100-fast": "fastnet32", "cifar100": "resnet20"}
PAIRS = (("cifar100-fast", 0), ("cifar100", 0), ("cifar100-fast", 1), ("cifar100", 1))
SEED_DISTANCE = 100
"""Between the recordings: run r of a recording has its seed + r."""
COMMAND = "DPRUNE_DATA=... python -m benchmarks.fast_scores"


def config(recipe: str, pair: int) -> dict[str, Any]:
    """The configuration of a trial."""
    seeds = [(2 * pair + half) * SEED_DISTANCE for half in (0, 1)]
    return {"data": DATA, "recipe": recipe, "changes": [*SCHEDULE, *PROXIES[recipe]], "seeds": seeds}


def compare_recordings(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """Make both recordings, and compare their scores."""
    halves = list[dict[str, dp.Scores]]()
    for seed in config["seeds"]:
        context = dp.open_context(
            open_set(config["data"]), recipe=config["recipe"], device="cpu", loader="memory", workspace=workspace, threads=1,
            changes=[*config["changes"], f"views.seed={seed}"],
        )  # fmt: skip
        halves.append({name: dp.score(context, name, seed=seed) for name in SCORERS})
    correlations = {name: float(spearmanr(*(half[name].values for half in halves)).statistic) for name in SCORERS}
    costs = {name: [cost for half in halves if (cost := half[name].meta.costs)] for name in (ONE_PROXY, ALL_PROXIES)}
    return {
        "spearman": {name: round(value, 4) for name, value in correlations.items()},
        "seconds": {name: [cost.seconds for cost in both] for name, both in costs.items()},
        "flops": {name: both[0].flops for name, both in costs.items()},
    }  # fmt: skip


def default_cost_ratio() -> float:
    """Compute of the recipe cifar100's own proxies over that of the fast recipe's."""
    data, flops = open_set(DATA), list[float]()
    for recipe in ("cifar100", "cifar100-fast"):
        settings = dp.open_context(data, recipe=recipe, device="cpu", loader="memory").recipe
        evidence, proxy = settings.evidence, settings.proxy
        epochs = evidence.full_runs * proxy.epochs + (evidence.runs - evidence.full_runs) * evidence.early_epoch
        flops.append(epochs * forward_flops(proxy.model, data.train.shape, data.classes))
    return flops[0] / flops[1]


def lines(rows: Sequence[Row]) -> list[list[str]]:
    """A line a proxy."""
    text = []
    for recipe, network in NETWORKS.items():
        own = [row["result"] for row in rows if row["config"]["recipe"] == recipe]
        if own:
            seconds = {name: [value for result in own for value in result["seconds"][name]] for name in own[0]["seconds"]}
            text.append([
                f"`{network}`, recipe {recipe}", *(mean_spread([r["spearman"][s] for r in own], 3) for s in SCORERS),
                *(mean_spread(values, 0) for values in seconds.values()), f"{own[0]['flops'][ALL_PROXIES] / 1e12:.1f}",
            ])  # fmt: skip
    return text


def main() -> None:
    rows = run_rows("fast_scores", [config(*pair) for pair in PAIRS], compare_recordings, __doc__)
    head = ["proxy", *(f"`{name}`" for name in SCORERS), "seconds to `forgetting` and `aum`", "to all three", "TFLOP"]
    body = (
        "Classes 40 to 59 of CIFAR-100. Reliability: Spearman's rank correlation between two recordings with other seeds "
        "and other views, not stepped up by Spearman-Brown; n counts pairs of recordings, for the seconds recordings (of "
        "one core, while others worked). A recording has 5 proxies, one of 8 epochs for `forgetting` and `aum`, all of "
        "them to epoch 2 for `el2n`: the schedule of the fast recipe. The recipe `cifar100` itself has ResNet-18, 40 "
        f"epochs, and 10 proxies to epoch 10, {default_cost_ratio():.0f} times the compute of the fast proxies; its "
        "stand-in here has ResNet-20, a fifth of the epochs and half of the proxies, and the other settings of that "
        f"recipe.\n\n{table(head, lines(rows))}"
    )
    publish("fast_scores", "Scores by fast proxies: reliability and time", COMMAND, body, {"rows": rows})


if __name__ == "__main__":
    main()
