"""Many trainings: sweeps, and the workers that run their trials."""
