"""Augmentation: each view a pure function of (view seed, view number, sample id)."""
