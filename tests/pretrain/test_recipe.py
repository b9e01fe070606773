from typing import Any

import pytest

from transferkit.errors import TransferkitError
from transferkit.pretrain.recipe import Recipe

PARTS: dict[str, Any] = {
    "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": {"name": "constant"},
    "augment": {"transforms": {}},
}


def test_where_it_runs_is_no_part_of_it() -> None:
    recipe = Recipe(epochs=2, **PARTS)
    assert recipe.to_json() == Recipe(epochs=2, device="cpu", num_workers=3, **PARTS).to_json()
    assert recipe.to_json() != Recipe(epochs=2, source={"dataset": "other"}, **PARTS).to_json()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, r"task\.epochs=0 must be a positive whole number"),
        ({"epochs": 1.5}, r"task\.epochs=1\.5 must be a positive whole number"),
        ({"epochs": 1, "batch_size": 0}, r"trainer\.batch_size=0 must be a positive whole number"),
        ({"epochs": 1, "label_smoothing": 1}, r"task\.label_smoothing=1 must be at least 0 and below 1"),
    ],
)
def test_values_that_cannot_be_used(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        Recipe(**values, **PARTS)


def test_differences_are_told_by_key() -> None:
    recipe = Recipe(epochs=2, **PARTS, source={"dataset": {"name": "glyphs"}})
    other = Recipe(epochs=3, **{**PARTS, "optimizer": {"name": "sgd"}}, source={"dataset": {"name": "fractals"}})
    assert other.differences(recipe.to_json()) == [
        "epochs 2 there and 3 here",
        "optimizer.lr 0.1 there and None here",
        "source.dataset.name glyphs there and fractals here",
    ]
    assert recipe.differences(recipe.to_json()) == []
