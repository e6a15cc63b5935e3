"""Inspecting, exporting, comparing and checking files."""
