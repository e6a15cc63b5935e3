"""Files that people exchange: tables and lists of ids or paths, out and in, and what differs between two files."""
