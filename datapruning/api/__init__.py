"""The Python functions behind the commands, and every rule that Python and the command line share."""
