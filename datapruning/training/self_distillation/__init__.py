"""Self-distillation: losses in which a student learns from its own predictions, one a file."""
