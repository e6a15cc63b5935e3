"""One run in several processes, started by torchrun: process 0 runs the command, the others serve it."""
