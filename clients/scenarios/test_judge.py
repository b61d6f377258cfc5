"""The judges notice what they are there for."""

from collections.abc import Callable

import pytest

from stage import judge
from stage.judge import Hold, Turn
from stage.tally import Tally

HOLDS = [Hold("ann", 0, 10, 1), Hold("bob", 10, 20, 2)]
TURNS = [Turn("ann", 0, 1, 5), Turn("bob", 2, 3, 6)]


def test_judges_pass_what_is_right() -> None:
    judge.never_overlap(HOLDS)
    judge.tokens_rise(HOLDS)
    assert judge.first_come_first_served(TURNS) == 1
    judge.each_once(["a", "b"], ["b", "a"])
    judge.each_once(["a", "b"], ["b"], lost_max=1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: judge.never_overlap([*HOLDS, Hold("cid", 19, 21, 3)]),
        lambda: judge.tokens_rise([*HOLDS, Hold("cid", 20, 21, 2)]),
        lambda: judge.first_come_first_served([*TURNS, Turn("cid", 4, 5, 4)]),
        lambda: judge.each_once(["a", "b"], ["a", "b", "a"]),
        lambda: judge.each_once(["a", "b"], ["a"]),
        lambda: judge.each_once(["a"], ["a", "b"]),
    ],
)
def test_judges_notice_what_is_wrong(wrong: Callable[[], object]) -> None:
    with pytest.raises(AssertionError):
        wrong()


def test_a_run_that_tried_too_little_fails() -> None:
    tally = Tally()
    tally.add("pauses", "rust")
    tally.need(1, "pauses", "rust")
    for what, language in (("pauses", "go"), ("cuts", "rust")):
        with pytest.raises(AssertionError):
            tally.need(1, what, language)
    with pytest.raises(AssertionError):
        tally.need(2, "pauses", "rust")
