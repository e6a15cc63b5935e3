"""Benchmarks: each a module run by one command, its result table committed beside it in results/."""
