import json

import numpy as np

from transferkit.report.classes import confuse
from transferkit.report.confusion_order import by_similarity, cell_data


def test_confused_classes_stand_beside_each_other() -> None:
    rng = np.random.default_rng(0)
    partner = np.array([5, 3, 7, 1, 6, 0, 4, 2])  # 0 is taken for 5, 1 for 3, ...
    labels = rng.integers(0, 8, 4000)
    predicted = np.where(rng.random(4000) < 0.4, partner[labels], labels)
    names = [str(i) for i in range(8)]
    given = confuse(labels, predicted, names)
    found = by_similarity(given)
    order = [int(name) for name in found.names]
    assert sorted(order) == list(range(8))
    assert all(abs(order.index(i) - order.index(int(partner[i]))) == 1 for i in range(8))
    for row, i in enumerate(order):
        np.testing.assert_array_equal(found.counts[row], given.counts[i, order])
        np.testing.assert_array_equal(found.shares[row], given.shares[i, order])


def test_cells_for_the_script_are_those_of_the_matrix() -> None:
    confusion = confuse(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2]), ["<a>", "b", "c"])
    data = json.loads(cell_data(confusion))
    assert data["names"] == ["<a>", "b", "c"]
    again = np.zeros((3, 3), dtype=int)
    for row, column, count in data["cells"]:
        again[row, column] = count
    np.testing.assert_array_equal(again, confusion.counts)
