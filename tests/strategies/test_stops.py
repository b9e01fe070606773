import numpy as np
import pytest

from transferkit.arrays import Probabilities
from transferkit.metrics import at_temperature
from transferkit.strategies.stops import Stop, all_stops, choose_stop, choose_temperature, phases_until
from transferkit.training.plan import Phase, Plan

PLAN = Plan("two", (Phase("a", {"head": 1e-3}, 2), Phase("b", {"stage5": 1e-4}, 3)))


def test_every_epoch_is_a_stop() -> None:
    assert all_stops(PLAN) == [Stop(0, 0), Stop(1, 1), Stop(1, 2), Stop(2, 1), Stop(2, 2), Stop(2, 3)]
    assert [(phase.name, epochs) for phase, epochs in phases_until(PLAN, Stop(2, 1))] == [("a", 2), ("b", 1)]
    assert phases_until(PLAN, Stop()) == []


def course(*stops: tuple[int, float]) -> list[Probabilities]:
    """Probabilities of 100 images at each stop, of which so many are right, with that probability of the truth."""
    found = []
    for right, confidence in stops:
        p = np.full((100, 3), (1 - confidence) / 2, dtype=np.float32)
        p[:, 0] = confidence
        p[right:] = [0.1, 0.9, 0.0]
        found.append(p)
    return found


@pytest.mark.parametrize(
    ("stops", "chosen"),
    [
        ([(80, 0.9), (80, 0.9), (80, 0.9)], 2),  # equal: the plan is carried out
        ([(81, 0.9), (79, 0.9), (80, 0.9)], 2),  # an image more is within the error
        ([(90, 0.9), (85, 0.9), (70, 0.9)], 0),  # training does harm
        ([(70, 0.9), (90, 0.9), (70, 0.9)], 1),  # too long a training does
        ([(70, 0.9), (80, 0.9), (90, 0.9)], 2),
        ([(80, 0.9), (80, 0.8), (80, 0.5)], 0),  # no more accurate, but less certain of what is right
        ([(79, 0.9), (79, 0.9), (80, 0.5)], 2),  # lower accuracy is never chosen for its loss
    ],
)
def test_an_earlier_stop_must_be_clearly_better(stops: list[tuple[int, float]], chosen: int) -> None:
    assert choose_stop(course(*stops), np.zeros(100, np.int64)) == chosen


def test_two_images_decide_nothing() -> None:
    right, wrong = np.array([[0.9, 0.1]] * 2, np.float32), np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    assert choose_stop([right, wrong], np.zeros(2, np.int64)) == 1


def test_a_temperature_makes_certain_mistakes_less_certain() -> None:
    labels = np.zeros(100, np.int64)
    (given,) = course((90, 0.999))
    given[90:] = [0.0005, 0.999, 0.0005]
    temperature = choose_temperature(given, labels)
    scaled = at_temperature(given, temperature)
    assert temperature > 1.5
    assert scaled[:, 0][:90].mean() == pytest.approx(0.9, abs=0.02)  # as many as are right
    assert (scaled.argmax(1) == given.argmax(1)).all()
    np.testing.assert_allclose(at_temperature(given, 1.0), given, atol=1e-6)


def test_a_temperature_needs_a_clearly_lower_loss() -> None:
    labels = np.zeros(6, dtype=np.int64)
    right, wrong = [0.9, 0.1], [0.05, 0.95]
    unclear = np.array([right] * 5 + [wrong], dtype=np.float32)
    assert choose_temperature(unclear, labels) == 1
    many = np.tile(unclear, (100, 1))
    assert choose_temperature(many, np.zeros(600, dtype=np.int64)) > 1.1
