"""Sweeps: grids of students (data, scorer, KD, seed, pruning, self-distillation), filled as rows by several processes."""
