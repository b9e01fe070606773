"""Weight soups: one model with the mean of the weights of several (Wortsman et al. 2022, Model soups)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from transferkit.artifact import Artifact
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel

State = Mapping[str, Tensor]

ALIKE = ("backbone", "stage", "stages", "pool", "head", "preprocessing", "class_names", "target")
"""Entries of `model.json` that are the same in all models of a soup."""


def check_ingredients(artifacts: Sequence[Artifact]) -> None:
    """Refuse models whose mean weights mean nothing: of different networks, or of different initialisations.

    Raises:
        TransferkitError: It says which differ, and in what.
    """
    first = artifacts[0]
    for other in artifacts[1:]:
        differ = [key for key in ALIKE if first.metadata.get(key) != other.metadata.get(key)]
        if differ:
            raise TransferkitError(
                f"A soup needs models of one network and one initialisation: {first.folder} and {other.folder} differ "
                f"in {', '.join(differ)}. task.how=mean averages their probabilities."
            )
    if first.metadata["head"].get("type") != "linear":
        raise TransferkitError("A soup needs linear heads, not nearest neighbours: task.how=mean averages those.")
    seeds = {artifact.metadata.get("fit_seed", artifact.metadata.get("seed")) for artifact in artifacts}
    random = [artifact.folder for artifact in artifacts if _starts_at_random(artifact.metadata.get("strategy"))]
    if random and len(seeds) > 1:
        raise TransferkitError(
            f"A soup needs models of one initialisation; {random[0]} starts from random weights of its own seed. Fit "
            "with strategy.head=probe and pretrained weights, or average probabilities: task.how=mean."
        )


def _starts_at_random(strategy: Any) -> bool:
    if not isinstance(strategy, Mapping) or "phases" not in strategy:
        return False
    return "random" in (strategy.get("init"), strategy.get("head"))


def uniform_soup(models: Iterable[TransferModel]) -> TransferModel:
    """Return the first model with the mean weights of all; batch-norm statistics are averaged, too."""
    iterator = iter(models)
    soup = next(iterator)
    mean, count = _state(soup), 1
    for model in iterator:
        mean, count = _with(mean, count, _state(model)), count + 1
    return _filled(soup, mean)


def greedy_soup(
    models: Iterable[TransferModel], score: Callable[[TransferModel], float]
) -> tuple[TransferModel, list[int]]:
    """Return the soup of the models that do not make it worse on val, and their places (Wortsman 2022, recipe 1).

    Args:
        models: The best on val first.
        score: Of a model on val; the higher the better.
    """
    iterator = iter(models)
    soup = next(iterator)
    mean, kept, best = _state(soup), [0], score(soup)
    for place, model in enumerate(iterator, start=1):
        candidate = _with(mean, len(kept), _state(model))
        found = score(_filled(soup, candidate))
        if found >= best:
            mean, best = candidate, found
            kept.append(place)
    return _filled(soup, mean), kept


def _state(model: TransferModel) -> dict[str, Tensor]:
    parts = {"backbone": model.backbone, "head": model.head}
    return {
        f"{part}.{name}": value.clone() for part, module in parts.items() for name, value in module.state_dict().items()
    }


def _with(mean: State, count: int, more: State) -> dict[str, Tensor]:
    """The mean of one state more; counters stay."""
    return {
        name: value + (more[name] - value) / (count + 1) if value.is_floating_point() else value
        for name, value in mean.items()
    }


def _filled(model: TransferModel, state: State) -> TransferModel:
    for part, module in (("backbone.", model.backbone), ("head.", model.head)):
        module.load_state_dict(
            {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
        )
    model.backbone.changed_stages.update(model.backbone.stage_names)  # its features are no other run's
    model.known = model.held_out_scores = None
    return model
