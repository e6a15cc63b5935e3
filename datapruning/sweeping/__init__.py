"""Sweeps: fractions x scorers x KD weights x seeds x teachers as rows of a store, filled by several processes."""
