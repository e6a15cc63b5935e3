"""A run folder, the context a job works in, the processes of a run, and experiment trackers."""
