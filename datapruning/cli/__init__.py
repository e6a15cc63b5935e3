"""The command line: one small file a verb; parses, calls the Python verbs, prints."""
