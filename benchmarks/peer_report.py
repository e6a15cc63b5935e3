"""Tables and text of `benchmarks.peer_scores`: compared methods, measured parts, and speed ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.common import mean_spread, publish, table
from benchmarks.peer_drivers import AS_RELEASED, LR, SHIMS
from datapruning.io.trial_store import Trial

COMMAND = "DPRUNE_DATA=... python -m benchmarks.peer_scores --deepcore DeepCore --ccs CCS"
COMMITS = {
    "deepcore": "74ec709f5ccba3b1e921b06c6e312d57741de3f8",
    "ccs": "b37f166ace760e17f4d5baae17a828bdb88c6667",
}
SETTINGS = (("tinynet8", 10_000, 10, 256), ("tinynet16", 5_000, 10, 256), ("resnet18", 128, 5, 128))
"""(network, samples, epochs, batch size). Both peers train on batches of 256 by default."""
SMALL = SETTINGS[0][0]
WARM_SAMPLES = 64
DEEPCORE, WORKERS = "DeepCore, forgetting, no workers", "DeepCore, forgetting, 4 workers as released"
CCS, SCRIPTS = "CCS, EL2N alone, no workers", "CCS, its two scripts as released"
NETWORK = "the network alone"
WAYS: dict[str, dict[str, Any]] = {
    DEEPCORE: {"side": "deepcore"},
    WORKERS: {"side": "deepcore", "workers": AS_RELEASED},
    "ours, forgetting, FFCV": {"side": "ours", "scorer": "forgetting", "loader": "ffcv"},
    "ours, forgetting, memory": {"side": "ours", "scorer": "forgetting", "loader": "memory"},
    CCS: {"side": "ccs"},
    SCRIPTS: {"side": "ccs-train", "workers": AS_RELEASED},
    "ours, el2n-online, FFCV": {"side": "ours", "scorer": "el2n-online", "loader": "ffcv", "augment": True},
    "ours, el2n-online, memory": {"side": "ours", "scorer": "el2n-online", "loader": "memory", "augment": True},
    NETWORK: {"side": "network"},
}
GROUPS = (list(WAYS)[:4], list(WAYS)[4:8])
"""Of each group: the peer as fast as it gets on one core, the peer as released, ours."""
SMALL_ONLY = (WORKERS, SCRIPTS)
"""These are measured on the smallest network alone."""


def case_of(row: Trial, network: str) -> dict[str, Any]:
    """Return the measurement of a row for a network."""
    matching: dict[str, Any] = next(case for case in row.result["cases"] if case["network"] == network)
    return matching


def to_scores(row: Trial, network: str, kind: str) -> float:
    """Return seconds from the file to scores in memory, in a warm process, without writing the cache."""
    parts = case_of(row, network)["parts"]
    return float(parts["open data"][kind] + parts["scores"][kind])


def process_seconds(row: Trial) -> float:
    """Return CPU seconds of a process that starts, scores with the smallest network, and ends."""
    if "whole" in row.result:
        return float(row.result["whole"]["cpu"])
    return float(row.result["start_up"]["cpu"]) + cache(row) + to_scores(row, SMALL, "cpu")


def cache(row: Trial) -> float:
    """Return CPU seconds of writing the FFCV cache for the smallest network."""
    return float(case_of(row, SMALL)["parts"].get("write cache", {"cpu": 0})["cpu"])


def ratios(bases: Sequence[Trial], rows: Sequence[Trial], value: Callable[[Trial], float]) -> str:
    """Format the ratio of the base's time to this one's, round by round: mean and standard deviation."""
    if bases == rows:
        return "1"
    return mean_spread([value(base) / value(row) for base, row in zip(bases, rows, strict=True)]).partition(" (")[0]


def speed_table(of: dict[str, list[Trial]], network: str) -> str:
    """Return a table of all methods with one network, each against the fastest configuration of the peer."""
    lines = []
    for base, *others in GROUPS:
        for name in (base, *others):
            if name == SCRIPTS or (name in SMALL_ONLY and network != SMALL):
                continue
            rows, spent = of[name], {kind: [to_scores(r, network, kind) for r in of[name]] for kind in ("cpu", "wall")}
            lines.append([
                name, mean_spread(spent["cpu"]), mean_spread(spent["wall"]),
                ratios(of[base], rows, lambda r: to_scores(r, network, "cpu")),
                ratios(of[base], rows, lambda r: to_scores(r, network, "wall")),
                f"{statistics.mean(case_of(r, network)['mean'] for r in rows):.3f}",
            ])  # fmt: skip
    head = ["way", "CPU seconds", "seconds", "the peer's CPU time over it", "the peer's time over it", "mean score"]
    return table(head, lines)


def process_table(of: dict[str, list[Trial]]) -> str:
    """Return a table of complete processes with the smallest network, each against the peer as released."""
    lines = []
    for group in GROUPS:
        for name in group:
            rows = of[name]
            start = "" if name == SCRIPTS else mean_spread([r.result["start_up"]["cpu"] for r in rows])
            writing = mean_spread([cache(r) for r in rows]) if "FFCV" in name else ""
            total = mean_spread([process_seconds(r) for r in rows])
            lines.append([name, start, writing, total, ratios(of[group[1]], rows, process_seconds)])
    return table(["way", "start-up", "writing the cache", "all together, CPU seconds", "the released peer's over it"], lines)


def network_part(of: dict[str, list[Trial]], network: str, samples: int, epochs: int, batch: int) -> str:
    """Return heading, table, the network's part of the time, and our evaluation passes."""
    costs = [case_of(rows[0], network)["costs"] for name, rows in of.items() if name.startswith("ours")]
    share = statistics.mean(cost["evaluated"] / cost["samples_seen"] for cost in costs)
    alone = mean_spread([to_scores(r, network, "cpu") for r in of[NETWORK]])
    return (
        f"## {network}: {samples:,} samples, {epochs} epochs, batches of {batch}\n\n{speed_table(of, network)}\n\n"
        f"The network alone, as many updates on one batch that is there: {alone} CPU seconds. Ours includes evaluation "
        f"passes without augmentation over {100 * share:.0f}% as many samples as it trains on."
    )


def report(rows: Sequence[Trial], rounds: int) -> None:
    """Print and write the tables."""
    of = {name: [row for row in rows if row.config["way"] == name] for name in WAYS}
    loads = [row.result["load_average"] for row in rows]
    body = f"""\
The first training samples of CIFAR-100, one training of one network with SGD from learning rate {LR:g}, scores from it.
{rounds} rounds; the ways take turns, one at a time, each process with its threads and children pinned to the same core,
torch on one thread. CPU seconds are those of the process, its threads and its DataLoader workers; where other programs run,
they say more than the seconds on the clock. Load average of the machine before each process, which counts this benchmark:
{min(loads):.1f} to {max(loads):.1f}. Ratios are taken within a round. Mean ± standard deviation.

Counted: from the `.npz` on the disk to one score a sample in memory, in a process that is warm. Not counted: imports and
compilation, and FFCV's cache, which is written once a dataset; the last table has them. Ours is `open_dataset` and `score`
with `evidence.runs=1` and `evidence.full_runs=1`, batch size, learning rate and epochs as the peer; it includes the
dataset's fingerprint and the evidence that it keeps on the disk, which serves other scorers too.

- DeepCore ({COMMITS["deepcore"][:8]}): `Forgetting.select()`, called as its main.py does. It trains on images that are not
  augmented, and so does ours beside it. Its learning rate stays where it is, ours falls; so it counts more events.
- CCS ({COMMITS["ccs"][:8]}): its data set, `Trainer`, logger, pickle and `EL2N`, without tests and without its other scores;
  images are flipped, and cropped after reflecting 4 pixels (ours: after zero-padding by 4). Its two scripts as released,
  with 16 workers, tests and all scores, are in the last table.
- A peer "without workers" loads in its own process, which is its fastest on one core. On several cores its workers would
  take time off it, and so would more threads off ours; neither is measured here.
- Shims for the peers: {"; ".join(SHIMS)}.

Mean score: forgetting events a sample (never learned: 0), and the summed error norm.

""" + "\n\n".join(network_part(of, *setting) for setting in SETTINGS)
    body += (
        f"\n\n## Whole processes, from start to exit\n\n{SMALL}, as in the first table. Start-up: imports, compilation, a "
        f"run on {WARM_SAMPLES} samples, and the end of the process. A further scorer or verb in the same process does not "
        f"pay it again.\n\n{process_table(of)}"
    )
    data = {"commits": COMMITS, "rows": [{"config": dict(r.config), "result": dict(r.result)} for r in rows]}
    publish("peer_scores", "Seconds to scores, against DeepCore and CCS", COMMAND, body, data)
