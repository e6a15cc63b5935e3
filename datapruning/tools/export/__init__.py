"""Scores and subsets as tables and lists for other programs."""
