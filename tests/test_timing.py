"""Steps add up."""

import time

from transferkit.timing import StepTimer


def test_a_step_entered_twice_adds_up_and_total_covers_all() -> None:
    timer = StepTimer()
    for _ in range(2):
        with timer.step("wait"):
            time.sleep(0.02)
    with timer.step("nothing"):
        pass
    seconds = timer.seconds()
    assert list(seconds) == ["total", "wait", "nothing"]
    assert 0.04 <= seconds["wait"] <= seconds["total"]
