"""Recording and distillation in other frameworks' training loops; each module imports its framework."""
