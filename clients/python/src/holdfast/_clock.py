"""The clock by which a client reckons, and the margin it keeps."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds that only rise, also while the machine is suspended."""

MARGIN_SHARE = 0.1
MARGIN_MIN = 0.1
MARGIN_MAX = 10.0


def boottime() -> float:
    """Return seconds that count while the machine is suspended, where the system can tell them."""
    # macOS counts suspended time in CLOCK_MONOTONIC and has no CLOCK_BOOTTIME.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def margin(ttl: float) -> float:
    """Return how long before the end of a `ttl`, in seconds, a holder gives up.

    A tenth of it, at least 0.1 s and at most 10 s, but never more than half of it.
    """
    return min(max(ttl * MARGIN_SHARE, MARGIN_MIN), MARGIN_MAX, ttl / 2)
