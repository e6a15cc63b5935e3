"""Advice: how small a fraction may be, from a few cheap pilots evaluated on samples that none of them saw."""
