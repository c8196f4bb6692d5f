"""Options that are numbers of a range, for every command line: this module imports nothing that an environment could lack."""

import argparse
from collections.abc import Callable


def within(kind: type, least: float, most: float) -> Callable[[str], float]:
    """The type of an option that is a number from `least` to `most`."""

    def number(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return number
