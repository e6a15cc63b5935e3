"""The one training loop, its objectives and schedules, evaluation, checkpoints, and the search for the KD weight."""
