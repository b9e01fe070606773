"""The configuration is checked as a whole: every key, every value, each mistake in one sentence."""

from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from transferkit.config.schema import GROUPS, check_config, check_group
from transferkit.config.wording import flatten
from transferkit.errors import TransferkitError

CONF = REPOSITORY / "conf"
CHOICES = [f"{path.parent.name}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
NEEDED = {
    "dataset=folder": ["dataset.root=photos"],
    "dataset=csv": ["dataset.file=t.csv"],
    "backbone=timm": ["backbone.name=convnext_tiny"],
    "optimizer=timm": ["optimizer.name=adan"],
    "backbone=torchvision": ["backbone.name=regnet_y_400mf"],
}
"""Keys that a choice requires."""

HOSTILE: list[Any] = [float("nan"), float("inf"), -1, 1e30, 10**12, "text", [1], [], {"a": 1}, {}, None, True, ""]


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """The configuration; not to be changed, since it is composed once for all tests."""
    settings = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


ALONE = ("backbone", "augment", "optimizer", "schedule", "selection", "protocol", "logger")
"""Groups none of whose choices changes another group."""


@cache
def alone() -> dict[str, dict[str, Any]]:
    """The node of each choice of these groups, composed all at once."""
    names = [choice for choice in CHOICES if choice.split("=")[0] in ALONE and choice not in NEEDED]
    every = composed(*("+{0}@every.{0}.{1}={1}".format(*choice.split("=")) for choice in names))["every"]
    return {choice: every[choice.split("=")[0]][choice.split("=")[1]] for choice in names}


def chosen(choice: str) -> dict[str, Any]:
    """The configuration with a choice of a group; not to be changed."""
    if choice in alone():
        return {**composed(), choice.split("=")[0]: alone()[choice]}
    return composed(choice, *NEEDED.get(choice, []))


def changed(values: Any, path: list[str], new: Any) -> Any:
    """A copy with another value at `path`."""
    return {**values, path[0]: changed(values[path[0]], path[1:], new)} if path else new


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def told(settings: dict[str, Any]) -> str:
    with pytest.raises(TransferkitError) as refused:
        check_config(settings)
    return str(refused.value)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_passes_and_loses_nothing(choice: str) -> None:
    settings = chosen(choice)
    group = choice.partition("=")[0]
    assert group in ("trainer", "protocol") or "name" in settings[group]
    checked = check_config(settings)
    after = dict(leaves(checked))
    for key, before in leaves(settings):
        assert after.get(key) == before or key == "dataset.name", key


def test_choices_that_are_composed_together_change_nothing_else() -> None:
    assert not [path for group in ALONE for path in (CONF / group).glob("*.yaml") if "override /" in path.read_text()]
    for choice in ("backbone=resnet_glyphs", "augment=none", "schedule=step", "protocol=dense", "selection=cv"):
        assert chosen(choice) == composed(choice)


KINDS = [choice for choice in CHOICES if "torchvision" in choice or choice.split("=")[0] != "backbone"]
"""Of the backbones one: all have the same keys."""


@pytest.mark.parametrize("choice", KINDS)
def test_whatever_a_value_is_there_is_an_answer(choice: str) -> None:
    """Each leaf and each node set to each hostile value is accepted, or refused in one message."""
    settings = chosen(choice)
    group = choice.partition("=")[0]
    tried = settings if group == "trainer" else {group: settings[group]}
    for key in flatten(tried):
        for value in HOSTILE:
            with suppress(TransferkitError):
                check_config(changed(settings, key.split("."), value))


@pytest.mark.parametrize("choice", KINDS)
def test_numbers_have_ranges(choice: str) -> None:
    """No number may be nan, infinite, or of absurd size."""
    settings = chosen(choice)
    for key, value in leaves(settings):
        if isinstance(value, int | float) and not isinstance(value, bool):
            for bad in (float("nan"), float("inf"), float("-inf"), 1e30, -1e30):
                assert key in told(changed(settings, key.split("."), bad))


NO_SHARES = ("0/4", "5/4", "1/33", "1", "a/b", "1/4/2", "-1/4", "1/0", "0.25")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+trainer.batchsize=8"], "trainer.batchsize: there is no such key. Did you mean trainer.batch_size?"),
        (["+cache.maxgb=1"], "cache.maxgb: there is no such key. Did you mean cache.max_gb?"),
        (["+strategy.probe.cs=[1]"], "strategy.probe.cs: there is no such key. Did you mean strategy.probe.Cs?"),
        (["+task.epochs=3"], "task.epochs: there is no such key."),
        (["+sed=3"], "sed: there is no such key. Did you mean seed?"),
        (["+dataset.root=x"], "dataset.root: there is no such key."),
        (["+strategy.auto.budgt=1", "strategy=auto"], "Did you mean strategy.auto.budget?"),
        (["strategy=lp_ft", "+strategy.epochs=3"], "Did you mean strategy.phases.all.epochs or epochs?"),
        (["strategy=lp_ft", "+strategy.phases.all.train.stge5=1"], "there is no stage like 'stge5'"),
        (["optimizer.lr_scale=-1"], "optimizer.lr_scale=-1 must be a number above 0"),
        (["optimizer.lr_scale=0"], "optimizer.lr_scale=0 must be a number above 0"),
        (["trainer.num_workers=10000"], "trainer.num_workers=10000 must be auto, or a whole number from 0 to 256."),
        (["strategy.probe.Cs=1000000000"], "strategy.probe.Cs=1000000000 must be a whole number from 1 to 1000"),
        (["backbone.input_size=1e6"], "backbone.input_size=1000000.0 must be null, or a whole number from 1 to 4096"),
        (["backbone.crop_pct=1e-9"], "backbone.crop_pct=1e-09 must be null, or a number from 0.05 to 1."),
        (["run=[1]"], "run=[1] must be null, or a path."),
        (["runs=true"], "runs=true must be null, or a path, or a list of paths."),
        (["images=[1, [2]]"], "images=[1, [2]] must be null, or a path, or a list of paths."),
        (["cache.dir=[1]"], "cache.dir=[1] must be null, or a path."),
        (["cache.enabled=yes"], "cache.enabled=yes must be true or false."),
        (["cache=5"], "cache=5 must be a mapping with the keys enabled, dir, ram_gb, max_gb."),
        (["backbone.weights=[1]"], "backbone.weights=[1] must be null, or a path."),
        (["trainer.precision=bf61"], "trainer.precision=bf61 must be auto, fp32, bf16 or fp16. Did you mean bf16?"),
        (
            ["strategy.pool=grid5"],
            "strategy.pool=grid5 must be auto, avg, max, grid2, grid3, grid4, cls, cls+avg or native.",
        ),
        (["strategy=stage_probe", "strategy.combine=mean"], "strategy.combine=mean must be best or concat."),
        (["strategy=stage_probe", "strategy.solver=exakt"], "strategy.solver=exakt must be exact or gradient."),
        (["strategy=auto", "strategy.auto.share=0"], "strategy.auto.share=0 must be a number above 0, at most 0.5."),
        (["task=advise", "task.max_images=0"], "task.max_images=0 must be a whole number from 1 to"),
        (["task=pretrain", "task.epochs=1.5"], "task.epochs=1.5 must be a whole number from 1 to"),
        (
            ["task=pretrain", "task.dtype=float31"],
            "task.dtype=float31 must be float32 or float16.",
        ),
        (["task=pretrain", "optimizer.lr=null"], "optimizer.lr=null must be a number above 0 for task=pretrain."),
        (["task=cache", "cache.clear=12e4"], "in quotes it is a key"),
        (["task=cache", "cache.unused_days=30d"], "cache.unused_days=30d must be a number from 0 to 36500."),
        (["strategy=from_scratch", "strategy.l2_sp.alpha=0.1"], "strategy.l2_sp.alpha needs pretrained weights"),
        (["strategy=lp_ft", "strategy.network_init=he"], "is for weights that start at random"),
        (["strategy=lp_ft", "strategy.head_init=he"], "strategy.head_init is for a head that starts at random"),
        (["strategy=full_finetune", "strategy.wise_ft=0.5"], "strategy.wise_ft takes the mean with the start"),
        (["strategy=full_finetune", "strategy.distill.teacher=probe"], "strategy.distill.teacher=probe needs"),
        (["strategy=lp_ft", "strategy.ema=0.9", "strategy.swa.start=0.5"], "are two averages of the weights"),
        (["strategy=lp_ft", "strategy.wise_ft=auto", "selection=last"], "but selection=last chooses nothing"),
        (["dataset=glyphs", "dataset.images=10"], "dataset.images=10 must be a whole number of at least 50"),
        (["dataset=glyphs", "dataset.images=10000000", "dataset.size=1024"], "are too many: at most"),
        (["task=advise", "extract.shard=1/2"], "extract.shard is for task=fit, not for task=advise."),
        (["task=advise", "backbones=resnet50"], "backbones=resnet50 must be null, or a list of 1 to 32 names such as"),
        (["task=advise", "backbones=[]"], "backbones=[] must be null, or a list of 1 to 32 names"),
        (["task=advise", "backbones=[a,[b]]"], "backbones=[a, [b]] must be null, or a list of 1 to 32 names"),
        (["task=advise", "backbones=[a,b,a]"], "backbones names a more than once."),
        (["backbones=[a,b]"], "backbones is for task=advise and strategy=auto"),
        (["strategy=auto", "backbones=[a,b]", "extract.shard=1/2"], "extract.shard is for one network"),
        (["cache.enabled=false", "extract.shard=1/2"], "which cache.enabled=false turns off."),
        *(([f"extract.shard='{text}'"], f"extract.shard={text} must be i/n") for text in NO_SHARES),
        (["dataset.kind=flder"], "dataset.kind=flder: there is no such choice. Did you mean folder?"),
        (["~trainer"], "trainer is missing"),
        (["~strategy.probe"], "strategy=linear_probe has none of probe, neighbors, phases, auto"),
        (["+protocol.name=center"], "Keys of protocol: center, ten_crop, multi_crop, dense, multi_scale,"),
        (["protocol=dense", "protocol.dense.average=mean"], "protocol.dense.average=mean must be scores or"),
        (["protocol=dense", "protocol.dense=null"], "protocol.dense=null must be a mapping"),
        (["protocol=ten_crop", "protocol.ten_crop.scales=two"], "must be one, three, or a list of 1 to 16 sides"),
        (["augment.views=0"], "augment.views=0 must be null, or auto, or a whole number from 1 to 10000."),
        (["strategy.probe.stages=top"], "strategy.probe.stages=top must be a list of stage names such as [top]."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_words(overrides: list[str], message: str) -> None:
    assert message in told(composed(*overrides))


def test_all_mistakes_are_told_at_once() -> None:
    lines = told(composed("seed=-1", "trainer.batch_size=0", "+cache.maxgb=1", "+typo=1")).splitlines()
    assert [line.split("=")[0].split(":")[0] for line in lines] == ["typo", "seed", "trainer.batch_size", "cache.maxgb"]


def test_absent_keys_get_their_defaults() -> None:
    settings = deepcopy(composed("strategy=lp_ft"))
    del settings["strategy"]["mixup"], settings["trainer"]["batch_size"], settings["dataset"]["val_fraction"]
    assert check_config(settings) == check_config(composed("strategy=lp_ft"))


def test_the_defaults_of_files_and_schema_agree() -> None:
    settings = composed()
    assert check_group("logger", {"name": "csv"}) == check_group("logger", settings["logger"])
    for name in ("search", "predict"):
        assert check_group("task", {"name": name}) == check_group("task", composed(f"task={name}")["task"])
    for group in ("trainer", "protocol", "augment"):
        assert check_group(group, {}) == check_group(group, settings[group])
    for name, node in (("linear_probe", "probe"), ("nearest_neighbor", "neighbors"), ("auto", "auto")):
        strategy = composed(f"strategy={name}")["strategy"]
        assert check_group("strategy", {"name": name, node: {}}) == check_group("strategy", strategy)
    lp_ft = composed("strategy=lp_ft")["strategy"]
    assert check_group("strategy", {key: lp_ft[key] for key in ("name", "phases")}) == check_group("strategy", lp_ft)
    assert check_config({**composed(), "cache": {}})["cache"] == check_config(composed())["cache"]


def test_transforms_keep_their_order_and_only_what_is_given() -> None:
    given = {"rotation": {"degrees": 5}, "horizontal_flip": {}, "affine": None}
    checked = check_group("augment", {"name": "mine", "transforms": given})["transforms"]
    assert list(checked.items()) == list(given.items())


def test_a_folder_may_be_called_2024() -> None:
    assert check_config(composed("dataset=folder", "dataset.root=2024"))["dataset"]["root"] == "2024"
