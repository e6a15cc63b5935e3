"""Advice: how small a fraction may be, from a few cheap pilots that are judged on samples which none of them saw."""
