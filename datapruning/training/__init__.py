"""The training loop, losses, schedules, evaluation and checkpoints."""
