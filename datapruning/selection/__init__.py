"""From scores to a subset: `select` and one strategy a file."""
