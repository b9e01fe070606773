"""The experiment on initialisation, against the figures of CS231n, within what ten layers differ from draw to draw."""

from pathlib import Path

import pytest

from tests.conftest import compose_settings
from transferkit.cli.inspect import main
from transferkit.inspection.initialisation import Depth, all_depths

Depths = dict[tuple[str, str], list[Depth]]


@pytest.fixture(scope="module")
def depths() -> Depths:
    return all_depths(0)


def test_small_weights_let_tanh_vanish(depths: Depths) -> None:
    rows = depths["tanh", "gaussian 0.01"]
    for row, expected in zip(rows, (0.213, 0.0476, 0.0106, 0.0024), strict=False):
        assert row.std == pytest.approx(expected, rel=0.05)
        assert abs(row.mean) < 0.02 * max(row.std, 0.01)
    assert rows[-1].std < 1e-6
    assert rows[0].gradient_std < 1e-5  # 0.01 * sqrt(500) for each of nine layers


def test_large_weights_saturate_tanh(depths: Depths) -> None:
    rows = depths["tanh", "gaussian 1"]
    assert all(row.std > 0.95 and row.saturated > 0.8 for row in rows)


def test_xavier_keeps_tanh_and_not_relu(depths: Depths) -> None:
    """The course has 0.628, 0.486, 0.408 for tanh; ReLU halves the variance in every layer."""
    for row, expected in zip(depths["tanh", "xavier"], (0.628, 0.486, 0.408), strict=False):
        assert row.std == pytest.approx(expected, rel=0.03)
    relu = depths["ReLU", "xavier"]
    assert relu[9].std / relu[0].std == pytest.approx(0.5**4.5, rel=0.35)


def test_he_keeps_relu(depths: Depths) -> None:
    rows = depths["ReLU", "he"]
    assert all(0.65 < row.std < 1.0 for row in rows)
    assert sum(row.std for row in rows) / len(rows) == pytest.approx(0.82, abs=0.08)
    assert all(0.44 < row.mean < 0.68 for row in rows)
    assert all(0.6 < row.gradient_std < 1.5 for row in rows)
    assert all(row.saturated == pytest.approx(0.5, abs=0.08) for row in rows)


@pytest.mark.parametrize(
    ("activation", "init"), [("ReLU", "orthogonal"), ("ReLU", "random walk"), ("tanh", "orthogonal")]
)
def test_orthogonal_weights_and_random_walks_vanish_no_more_than_he_and_xavier(
    activation: str, init: str, depths: Depths
) -> None:
    rows, known = depths[activation, init], depths[activation, "he" if activation == "ReLU" else "xavier"]
    for row, other in zip(rows, known, strict=True):
        assert row.std == pytest.approx(other.std, rel=0.25)
        assert row.gradient_std == pytest.approx(other.gradient_std, rel=0.4)


def test_lsuv_gives_every_layer_inputs_of_the_same_spread(depths: Depths) -> None:
    """Of a standard normal variable tanh has a standard deviation of 0.628, and ReLU one of 0.584."""
    for activation, expected in (("tanh", 0.628), ("ReLU", 0.584)):
        assert all(row.std == pytest.approx(expected, rel=0.1) for row in depths[activation, "lsuv"])


def test_the_task_writes_it(depths: Depths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.cli.inspect.all_depths", lambda seed: depths)
    settings = compose_settings("finetune_few")
    settings["inspect"] |= {"what": "initialisation"}
    main(settings, tmp_path)
    lines = (tmp_path / "initialisation.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 7 * 10
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<svg") == 2
