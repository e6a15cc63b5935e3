"""Pruning weights at the start: masks, the saliencies that choose them, and what keeps them through training."""
