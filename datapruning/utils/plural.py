"""Numbers that agree with their nouns."""


def plural(number: int, singular: str, several: str = "") -> str:
    """As in "1 run" and "2 runs"."""
    return f"{number:,} {singular if number == 1 else several or singular + 's'}"
