"""Sweeps: grids of students (data, scorer, KD, seed, pruning, self-distillation), run as trials by several processes."""
