"""One run in several processes, started by torchrun: process 0 runs the command, the others lend it their hands."""
