"""One training in several processes, started by torchrun: each trains on its share of every batch."""
