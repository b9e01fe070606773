"""Inspecting the network of a configuration: layers and costs from shapes alone, and measurements on images."""

from collections.abc import Mapping
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.without_memory import backbone_without_memory
from transferkit.config.compose import load_strategy_settings
from transferkit.data.imagedata import ImageData
from transferkit.device import run_place
from transferkit.inspection.activation_statistics import measure
from transferkit.inspection.filters import first_filters
from transferkit.inspection.inspected import Inspected, inspect_layers
from transferkit.inspection.training_memory import step_costs
from transferkit.training.plan import Plan, plan_of

DEFAULT_OUTPUTS = 1000


def describe_network(settings: Mapping[str, Any], backbone: Backbone | None, data: ImageData | None) -> Inspected:
    """Inspect a network.

    Args:
        settings: The resolved configuration: `backbone`, `strategy`, `optimizer`, `trainer`, `inspect`.
        backbone: With its weights, to measure it; its memory is given up. None to count only.
        data: Whose training images are measured.

    Raises:
        TransferkitError: The network or the images cannot be had.
    """
    device, precision = run_place(settings)
    filters = measured_layers = measured = None
    weights = ""
    if backbone is not None and data is not None:
        weights, filters = backbone.weights_name, first_filters(backbone)
        most, classes = settings["inspect"]["images"], len(data.class_names)
        measured_layers, measured = measure(backbone.to(device), data.train, most, classes, settings["seed"])
        shapes = backbone.to("meta")
    else:
        shapes = backbone_without_memory(settings["backbone"])
    layers = inspect_layers(shapes)
    plan = plan_of(settings) if "phases" in settings["strategy"] else None
    outputs = len(data.class_names) if data is not None else DEFAULT_OUTPUTS
    costs = step_costs(shapes, outputs, plan, _all_stages(plan))
    return Inspected(
        shapes.spec.name,
        weights,
        shapes.preprocess.input_size,
        precision,
        layers,
        costs,
        settings["strategy"]["name"],
        (plan or _all_stages(plan)).batch_size,
        filters,
        measured_layers or (),
        measured,
    )


def _all_stages(plan: Plan | None) -> Plan:
    """How all stages would be trained: with the optimizer of the strategy, if it has one."""
    return plan or plan_of(load_strategy_settings("full_finetune"))
