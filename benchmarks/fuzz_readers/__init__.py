"""The readers under test, by name: how a valid file of each kind is written and read, and its content."""

from benchmarks.fuzz_readers import artifacts, datasets, evidence, images, runs, weights
from benchmarks.fuzz_readers.reader import Reader

_MODULES = (artifacts, runs, evidence, datasets, weights, images)
READERS: dict[str, Reader] = {reader.name: reader for module in _MODULES for reader in module.READERS}
