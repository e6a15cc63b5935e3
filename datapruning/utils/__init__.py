"""Small helpers that know nothing of data sets or training: hashing, console output, compute cost, device errors."""
