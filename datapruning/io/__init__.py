"""Reading and writing files: atomic writes, checked readers, locks, disk space, the trial store, tensors."""
