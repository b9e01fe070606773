"""Plans: what a YAML may say, and which stages it means."""

from typing import Any

import pytest

from transferkit.config.compose import config_dir
from transferkit.errors import TransferkitError
from transferkit.training.plan import Phase, Plan, differences, load_strategy

RESNET = ("stage1", "stage2", "stage3", "stage4", "stage5", "head")
VGG = ("stage1", "stage2", "stage3", "stage4", "stage5", "fc6", "fc7", "head")


def phase(**train: Any) -> Phase:
    return Phase("tail", {key.replace("_all", "*"): value for key, value in train.items()}, 3)


def test_rates_by_name_pattern_and_top() -> None:
    few = Phase("tail", {"head": 1e-3, "top": 3e-4, "fc*": 2e-4, "stage5*": 1e-4}, 3)
    assert few.rates(RESNET) == {"stage5": 3e-4, "head": 1e-3}
    assert few.rates(VGG) == {"stage5": 1e-4, "fc6": 2e-4, "fc7": 3e-4, "head": 1e-3}
    assert Phase("tail", {"*": 1.0}, 1).rates(VGG) == dict.fromkeys(VGG, 1.0)


def test_a_name_wins_over_a_pattern_and_the_later_over_the_earlier() -> None:
    mixed = Phase("tail", {"stage5": 1e-5, "stage*": 1e-4, "stage[12]": 1e-6, "stage2": None}, 1)
    assert mixed.rates(RESNET) == {"stage1": 1e-6, "stage3": 1e-4, "stage4": 1e-4, "stage5": 1e-5}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"stage9": 1e-3}, r"strategy\.phases\.tail\.train: there is no stage like 'stage9'.*stage1"),
        ({"stgae*": 1e-3}, "there is no stage like 'stgae\\*'"),
        ({"stage5": -1.0}, r"train\.stage5=-1\.0 must be null, or a number above 0"),
        ({"stage5": True}, "stage5=true must be null, or a number above 0"),
        ({"stage5": None}, "trains nothing"),
        ({}, "trains nothing"),
    ],
)
def test_what_cannot_be_trained(train: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        Phase("tail", train, 1)


def test_a_stage_that_the_network_lacks_is_an_error_and_a_pattern_is_none() -> None:
    with pytest.raises(TransferkitError, match=r"there is no stage 'fc7'.*Valid: stage1, .*head"):
        Phase("tail", {"fc7": 1e-3, "head": 1e-3}, 1).rates(RESNET)
    assert Phase("tail", {"fc*": 1e-3, "head": 1e-3}, 1).rates(RESNET) == {"head": 1e-3}
    with pytest.raises(TransferkitError, match="names none of this network's stages"):
        Phase("tail", {"fc*": 1e-3}, 1).rates(RESNET)


@pytest.mark.parametrize(
    ("images", "batch", "expected"), [(1000, 32, 1), (640, 32, 1), (639, 32, 2), (50, 32, 13), (8, 32, 80)]
)
def test_few_images_are_passed_over_several_times_an_epoch(images: int, batch: int, expected: int) -> None:
    tail = Phase("tail", {"head": 1e-3}, epochs=10, min_steps=200)
    assert tail.passes(images, batch) == expected
    assert expected * images // batch * tail.epochs >= 200
    assert Phase("tail", {"head": 1e-3}, epochs=10).passes(images, batch) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchnorm": "batch"}, r"strategy\.batchnorm: there is no such key\. Did you mean strategy\.batch_norm"),
        ({"batch_norm": "off"}, r"strategy\.batch_norm=off must be running or batch"),
        ({"head": "zero"}, r"strategy\.head=zero must be probe or random"),
        ({"ema": 1.0}, r"strategy\.ema=1\.0 must be a number of at least 0 and below 1"),
        ({"mixup": -1}, r"strategy\.mixup=-1 must be"),
        ({"early_stopping": 0}, r"strategy\.early_stopping=0 must be"),
        ({"gradient_clip": 0}, r"strategy\.gradient_clip=0 must be null, or a number above 0"),
        ({"accumulate": 0}, r"strategy\.accumulate=0 must be"),
        ({"batch_size": 1.5}, r"strategy\.batch_size=1\.5 must be"),
        ({"phases": {}}, "has no phases"),
        ({"phases": None}, "phases=null must be a mapping of names to epochs and train"),
        ({"phases": {"a": {"epochs": 1}}}, r"strategy\.phases\.a\.train is missing"),
        ({"phases": {"a": {"train": {"head": 1}}}}, r"strategy\.phases\.a\.epochs is missing"),
        ({"phases": {"a": {"epoch": 1}}}, r"strategy\.phases\.a\.epoch: there is no such key\. Did you mean .*epochs"),
        (
            {"phases": {"a": {"epochs": 0, "train": {"head": 1}}}},
            r"strategy\.phases\.a\.epochs=0 must be a whole number from 1",
        ),
        (
            {"phases": {"a": {"epochs": 1, "lr_decay": 2, "train": {"head": 1}}}},
            r"lr_decay=2 must be a number above 0, at most 1",
        ),
        (
            {"phases": {"a": {"epochs": 1, "parameters": "bias", "train": {"head": 1}}}},
            r"parameters=bias must be all, norms, biases_and_norms or lora",
        ),
        ({"lora": {"rank": 0}}, r"strategy\.lora\.rank=0 must be a whole number from 1"),
        ({"lora": {"targets": ["heads"]}}, r"strategy\.lora\.targets.*attention, mlp"),
        ({"phases": {"a": 3}}, r"strategy\.phases\.a=3 must be null, or a mapping with the keys epochs, train"),
    ],
)
def test_a_plan_that_cannot_be_used(change: dict[str, Any], message: str) -> None:
    strategy = {"name": "mine", "phases": {"a": {"epochs": 1, "train": {"head": 1e-3}}}}
    assert Plan.from_mapping(strategy).phases[0].name == "a"
    with pytest.raises(TransferkitError, match=message):
        Plan.from_mapping(strategy | change)


def test_a_strategy_by_name_with_overrides() -> None:
    plan = load_strategy("finetune_few", ["strategy.phases.tail.epochs=3", "+strategy.phases.tail.train.stage4=1e-5"])
    assert plan.name == "finetune_few"
    assert plan.phase("tail").epochs == 3
    assert plan.phase("tail").rates(RESNET)["stage4"] == 1e-5
    assert plan.optimizer["name"] == "adamw"
    assert "lr" not in plan.optimizer
    assert load_strategy("finetune_few", ["optimizer=sgd"]).optimizer["lr_scale"] > 1


def test_a_misspelt_strategy_is_told() -> None:
    with pytest.raises(TransferkitError, match=r"strategy=finetune_fwe: .*Did you mean finetune_few"):
        load_strategy("finetune_fwe")
    with pytest.raises(TransferkitError, match=r"strategy=finetune_few: .*epoch"):
        load_strategy("finetune_few", ["strategy.phases.tail.epoch=3"])
    with pytest.raises(TransferkitError, match="strategy=linear_probe has no phases"):
        load_strategy("linear_probe")
    with pytest.raises(TransferkitError, match=r"no phase 'tial'\. Did you mean tail"):
        load_strategy("finetune_few").phase("tial")


FINETUNING = [path.stem for path in sorted((config_dir() / "strategy").glob("*.yaml")) if "phases:" in path.read_text()]
FAMILIES = [RESNET, VGG, ("stage4", "head"), ("stage2", "stage3", "stage4", "stage5", "head")]


@pytest.mark.parametrize("name", FINETUNING)
def test_every_strategy_fits_every_family(name: str) -> None:
    plan = load_strategy(name)
    for stages in FAMILIES:
        if name == "surgical" and "stage2" not in stages:
            continue  # the first stages are what it is about
        for each in plan.phases:
            rates = each.rates(stages)
            assert "head" in rates
            assert min(rates.values()) > 0


def test_differences_name_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": None}) == ["a.c 2 there and 3 here"]
    plan = load_strategy("lp_ft")
    other = load_strategy("lp_ft", ["strategy.phases.all.epochs=3"])
    assert differences(plan.to_mapping(), other.to_mapping()) == ["phases.all.epochs 10 there and 3 here"]
