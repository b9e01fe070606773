import numpy as np
import pytest

from transferkit.metrics import wilson_interval
from transferkit.report.facts import cost, duration, headline, percent, plain, plural, scores


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (3.21, "3.2 s"),
        (59.99, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.8, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_numbers():
    assert percent(0.9608) == "96.1\u202f%"
    assert percent(float("nan")) == "–"
    assert plain(0.0017782794) == "0.00178"
    assert plain(3162.27766) == "3160"
    assert plain(100.0) == "100"
    assert plural(1, "class") == "1 class"
    assert plural(1020, "class") == "1,020 classes"
    assert plural(2, "test image") == "2 test images"


def test_headline(make_result):
    result = make_result(["ant", "bee", "cat"], n=50)
    line = headline(result)
    assert (line.n, line.correct) == (50, round(50 * result.metrics["test"]["top1"]))
    assert (line.low, line.high) == wilson_interval(line.correct, 50)
    counts = np.bincount(result.test.labels)
    assert line.guessing == counts.max() / 50
    assert line.commonest == result.class_names[counts.argmax()]


@pytest.mark.parametrize(("num_classes", "shown"), [(5, False), (6, True)])
def test_top5_is_left_out_where_it_says_nothing(make_result, num_classes, shown):
    rows = scores(make_result([f"class {i}" for i in range(num_classes)]))
    assert ("top5" in [row.kind for row in rows]) == shown


def test_steps_add_up_to_the_total(make_result):
    rows = cost(make_result(["a", "b"]))
    assert rows.pop("total") == 75
    assert sum(rows.values()) == pytest.approx(75)
    assert rows["other (until this report)"] == pytest.approx(75 - 1.5 - 62.25)
