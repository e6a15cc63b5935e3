"""The files that datapruning writes and reads: scores, subsets, label issues, influence, predicted probabilities."""
