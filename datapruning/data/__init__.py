"""Datasets and where they come from, loaders, and augmented views."""
