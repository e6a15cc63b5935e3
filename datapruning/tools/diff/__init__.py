"""How two files or runs differ."""
