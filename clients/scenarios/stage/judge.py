"""What must hold of what happened, whoever did it. Each judge names what is wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Hold:
    """A time in which somebody believed to have something alone, by the clock of the machine."""

    who: str
    took: int
    """When it was known to be had."""
    gave: int
    """When it was no longer relied on."""
    token: int = 0
    """The fencing token."""


@dataclass(frozen=True)
class Turn:
    """A ticket's way through its line."""

    who: str
    asked: int
    """When the ticket was asked for."""
    made: int
    """When it was there."""
    took: int
    """When its turn had come."""


def never_overlap(holds: Iterable[Hold]) -> None:
    """Nobody has it before the one before has given it up."""
    ordered = sorted(holds, key=lambda hold: hold.took)
    for before, after in pairwise(ordered):
        assert before.gave <= after.took, f"two have it at once: {before}, {after}"


def tokens_rise(holds: Iterable[Hold]) -> None:
    """Fencing tokens rise strictly, in the order of the holds."""
    ordered = sorted(holds, key=lambda hold: hold.took)
    for before, after in pairwise(ordered):
        assert before.token < after.token, f"the token does not rise: {before}, {after}"


def first_come_first_served(turns: Iterable[Turn]) -> int:
    """Whose ticket was there before another was asked for has its turn before it.

    Returns how many pairs were compared.
    """
    ordered = sorted(turns, key=lambda turn: turn.took)
    pairs = 0
    for place, late in enumerate(ordered):
        for early in ordered[:place]:
            assert early.asked < late.made, f"{late} was overtaken by {early}"
            pairs += 1
    return pairs


def each_once(pushed: Sequence[str], got: Sequence[str], lost_max: int = 0) -> None:
    """Each item comes to one consumer; at most so many died with one that had it."""
    counts = Counter(got)
    twice = [item for item, times in counts.items() if times > 1]
    assert not twice, f"came to more than one consumer: {twice}"
    strange = counts.keys() - set(pushed)
    assert not strange, f"were never pushed: {strange}"
    missing = set(pushed) - counts.keys()
    assert len(missing) <= lost_max, f"came to nobody: {missing}"
