"""Workers that fill the rows of a store: processes of this machine, jobs of a Slurm cluster, tasks of Ray."""
