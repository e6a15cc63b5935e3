"""Benchmarks: each is a module that one command runs, with its result table committed in results/."""
