"""Composing the configuration of a strategy outside of a command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from transferkit.config.choice_files import choices
from transferkit.config.choice_files import config_dir as config_dir
from transferkit.config.explain import explain
from transferkit.config.run_names import register
from transferkit.config.wording import no_such_choice
from transferkit.errors import TransferkitError

register()


def load_strategy_settings(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration composed with `strategy=name` and checked, as plain containers.

    Args:
        name: Of a YAML in conf/strategy.
        overrides: As on the command line: "strategy.phases.tail.epochs=3", "optimizer=sgd".

    Raises:
        TransferkitError: The strategy is unknown, or an override is wrong.
    """
    try:
        with own_hydra():
            settings = OmegaConf.to_container(
                compose("config", overrides=[f"strategy={name}", *overrides]), resolve=True
            )
    except (HydraException, OmegaConfBaseException) as error:
        if name not in choices("strategy"):
            raise TransferkitError(no_such_choice("strategy", name, choices("strategy"))) from error
        raise TransferkitError(f"strategy={name}: {explain(error)}") from error
    from transferkit.config.schema import check_config  # pydantic, which --help does without

    assert isinstance(settings, dict)
    return check_config({str(key): value for key, value in settings.items()})


def load_strategies(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The group `strategy` with each of these choices, as `load_strategy_settings` has it; composed all at once.

    Args:
        names: Of YAMLs in conf/strategy.
    """
    from transferkit.config.schema import check_group

    with own_hydra():
        every = compose("config", overrides=[f"+strategy@every.{name}={name}" for name in names]).every
    groups = {name: OmegaConf.to_container(every[name], resolve=True) for name in names}
    named = {name: {str(key): group[key] for key in group} for name, group in groups.items() if isinstance(group, dict)}
    return {name: check_group("strategy", group) for name, group in named.items()}


def load_backbone_settings(name: str) -> dict[str, Any]:
    """The group `backbone` with the choice `name`, or of the network that torchvision or timm calls so, with defaults.

    Raises:
        TransferkitError: The choice is for any network of a library, so that it has no name of its own.
    """
    from transferkit.config.schema import check_group

    if name not in choices("backbone"):
        return check_group("backbone", {"name": name})
    try:
        with own_hydra():
            node = compose("config", overrides=[f"backbone={name}"]).backbone
            group = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue:
        raise TransferkitError(
            f"{name} is no network, but a library: give the name that the network has there."
        ) from None
    assert isinstance(group, dict)
    return check_group("backbone", {str(key): value for key, value in group.items()})


@contextmanager
def own_hydra() -> Iterator[None]:
    """Hydra with transferkit's groups; the state of a running Hydra application is restored afterwards."""
    current = GlobalHydra.instance()
    outer = current.hydra
    current.clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            yield
    finally:
        current.hydra = outer
