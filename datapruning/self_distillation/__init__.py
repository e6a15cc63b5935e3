"""Self-distillation: objectives in which a student learns from its own opinions, one a file."""
