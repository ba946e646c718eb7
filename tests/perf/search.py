"""Finds the largest load that still works."""

from __future__ import annotations

from collections.abc import Callable


def largest(works: Callable[[int], bool], start: int, cap: int, precision: float = 0.05) -> int:
    """Return the largest count for which ``works`` holds, by doubling and bisection.

    The answer is right to ``precision`` of itself, never above ``cap``, and was tried itself;
    0 when not even a sixteenth of ``start`` works. ``works`` should be monotonic; where noise makes
    it otherwise, the answer is still a count that worked.
    """
    good, bad = 0, None
    count = min(start, cap)
    while good < cap and bad is None:
        if works(count):
            good = count
            count = min(count * 2, cap)
        else:
            bad = count
    if bad is None:
        return good
    while good == 0 and bad > max(1, start // 16):
        count = bad // 2
        if works(count):
            good = count
        else:
            bad = count
    while good and bad - good > max(1, int(good * precision)):
        count = (good + bad) // 2
        if works(count):
            good = count
        else:
            bad = count
    return good
