"""Workers that run the trials of a store: processes of this machine, jobs of a Slurm cluster, tasks of Ray."""
