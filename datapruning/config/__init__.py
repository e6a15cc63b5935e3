"""Every table of a recipe, one a file, and how recipes are read from and written to TOML."""
