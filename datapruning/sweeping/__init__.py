"""Sweeps: grids of students (data, scorer, KD, seed, pruning, self-distillation) as rows of a store, for several processes."""
