"""Pruning weights before training: masks, the criteria that choose them, and what holds them through training."""
