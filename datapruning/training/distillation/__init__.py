"""Training a student: the search for the KD weight, training with soft labels, evaluation."""
