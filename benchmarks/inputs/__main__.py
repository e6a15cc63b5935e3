"""Generated folders of images, arrays and weight files: opening one gives the right arrays, or names the culprit in a line.

    python -m benchmarks.inputs [--examples 2000] [--seed 0]

Each example is made by a few random choices: class names in any script, names of splits, nested folders, modes and
containers of images, files without an ending, what systems leave behind; types and shapes of arrays; wrappers of weights. In
a third of them one thing is wrong. What is right is known from how an example was made, not from reading it.
"""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks.common import publish, table
from benchmarks.inputs import search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["DPRUNE_QUIET"] = "1"
    counts, faults = search(args.examples, args.seed)
    body = (
        f"{counts.total():,} generated inputs, seed {args.seed}: **{len(faults)} faults**. Each either opens to the arrays "
        "that it was made from, in their order, or is refused in one line that names what is wrong.\n\n"
        + table(["input", "examples"], [[kind, f"{count:,}"] for kind, count in sorted(counts.items())])
    )
    command = f"python -m benchmarks.inputs --examples {args.examples} --seed {args.seed}"
    publish(
        "inputs", "Generated inputs: the right arrays, or the culprit", command, body, {"counts": counts, "faults": faults}
    )
    if faults:
        sys.exit("\n\n".join(faults))


if __name__ == "__main__":
    main()
