"""A command line that Hydra cannot compose: what was meant, which choices there are, nothing of Hydra's own."""

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir

from transferkit.config.choice_files import choices, config_dir
from transferkit.config.explain import explain


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def told(*overrides: str) -> str:
    with pytest.raises(Exception) as refused:  # noqa: PT011
        compose("config", overrides=list(overrides))
    return explain(refused.value, overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone=resnet5O"], "backbone=resnet5O: there is no such choice. Did you mean resnet50"),
        (["strategy=base"], "strategy=base: there is no such choice."),
        (["dataset=base"], "Valid: aircraft, "),
        (["experiment=typo"], "experiment=typo: there is no such choice. Valid: bakeoff, learning_curve"),
        (["trainer.batchsize=8"], "trainer.batchsize: there is no such key. Did you mean trainer.batch_size?"),
        (["sed=1"], "sed: there is no such key. Did you mean seed?"),
        (["optimiser=sgd"], "optimiser: there is no such key. Did you mean optimizer?"),
        (
            ["strategy=full_finetune", "strategy.epochs=3"],
            "Did you mean strategy.phases.head.epochs or strategy.phases.all.epochs or epochs?",
        ),
        (["predict"], "predict: arguments have the form key=value"),
        (["dataset.name"], "dataset.name: arguments have the form key=value"),
        (["backbone=null"], "backbone=null: there is no such choice. Valid: alexnet, "),
        (["backbone=50"], "backbone=50: there is no such choice."),
        (["images=my photos (1)"], "needs quotes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_words(overrides: list[str], message: str) -> None:
    text = told(*overrides)
    assert message in text
    assert "Config search path" not in text
    assert "provider=" not in text


def test_the_shared_defaults_are_no_choice() -> None:
    for group in ("dataset", "backbone", "strategy"):
        assert "base" not in choices(group)
    assert choices("shared") == []
