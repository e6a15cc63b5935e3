"""The coverage-guided part of `benchmarks.fuzz`, in a separate process, because libFuzzer ends its process.

    python -m benchmarks.fuzz_guided "row store" -runs=2000 -seed=1

Python code that runs while a file is read is instrumented; files that reach new code are kept and changed further, by
libFuzzer's own changes and by those of `fuzz_changes.py`. Anything that `benchmarks.fuzz` calls a fault ends it.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["datapruning", "zipfile", "json", "tomllib", "csv"]):
    from benchmarks.fuzz import FAULTS, judge
    from benchmarks.fuzz_changes import changed
    from benchmarks.fuzz_readers import READERS
    from benchmarks.fuzz_readers.reader import content


def main() -> None:
    name, flags = sys.argv[1], sys.argv[2:]
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as temporary_folder:
        folder, corpus = Path(temporary_folder) / "files", Path(temporary_folder) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        reader.make(folder)
        original = content(reader.read(folder))
        file = reader.files[0]
        ending, original_bytes = file.rpartition(".")[2], (folder / file).read_bytes()
        (corpus / "original").write_bytes(original_bytes)

        def try_one(data: bytes) -> None:
            (folder / file).write_bytes(data)
            outcome, why = judge(reader, folder, original, data, ending, plain=False)
            if outcome in FAULTS:
                raise RuntimeError(f"{outcome} {why}")

        def change(data: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            return atheris.Mutate(data, most) if rng.random() < 0.5 else changed(data, ending, rng)[0][:most]

        limits = [
            f"-max_len={2 * len(original_bytes) + 4096}",
            "-timeout=10",
            "-rss_limit_mb=6000",
            f"-artifact_prefix={temporary_folder}/",
        ]
        atheris.Setup([sys.argv[0], *flags, *limits, str(corpus)], try_one, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
