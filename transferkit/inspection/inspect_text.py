"""An inspection in the terminal: stages, with their layers where they are unfolded, and the cost of training."""

from collections.abc import Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table

from transferkit.backbones.stages import match_stages
from transferkit.inspection.amounts import count, memory, shape, share, window
from transferkit.inspection.inspected import Inspected
from transferkit.inspection.layers import Layer, Sum, by_stage

WIDTH = 80
_NAME = 17


def inspection_text(inspected: Inspected, unfold: Sequence[str] | str | None) -> str:
    """The tables as plain text of at most 80 columns.

    Args:
        inspected: What was found.
        unfold: "all", or names or patterns of stages whose layers are listed one by one.

    Raises:
        TransferkitError: A stage that the network does not have.
    """
    total = inspected.total
    stages = by_stage(inspected.layers)
    patterns = ["*"] if unfold == "all" else list(unfold or ())
    wanted = match_stages(patterns, list(stages), "inspect.unfold")
    height, width = inspected.size
    parts = [
        f"{inspected.name}, {height} x {width} pixels: {total.parameters:,} parameters "
        f"({memory(4 * total.parameters)} in fp32),",
        f"{count(total.multiply_adds)} multiply-adds and {count(total.values)} activations "
        f"({memory(total.values * inspected.bytes_per_value)} in {inspected.precision}) an image",
        "",
        rendered(_stages(inspected)),
    ]
    for stage in wanted:
        parts += ["", rendered(_layers(stage, stages[stage]))]
    parts += ["", rendered(_training(inspected)), *_explained(inspected)]
    if inspected.measured is not None:
        parts += ["", rendered(_measured(inspected))]
    return "\n".join(line.rstrip() for part in parts for line in part.split("\n"))


def rendered(table: Table) -> str:
    """A table as plain text."""
    with StringIO() as buffer:
        Console(file=buffer, width=WIDTH, color_system=None, highlight=False).print(table)
        return buffer.getvalue().rstrip("\n")


def new_table(left: Sequence[str], right: Sequence[str], title: str | None = None) -> Table:
    """An empty table without lines, with columns aligned left and then columns aligned right."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left", title_style="")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _stages(inspected: Inspected) -> Table:
    total, size = inspected.total, inspected.bytes_per_value
    table = new_table(["stage", "output"], ["layers", "memory", "", "parameters", "", "mult-adds", "", "field"])

    def add(name: str, one: Sum) -> None:
        output, field = shape(one.last.output), one.last.field
        table.add_row(
            *(name, "" if name == "total" else output, str(one.layers), memory(one.values * size)),
            *(_percent(one.values, total.values), count(one.parameters), _percent(one.parameters, total.parameters)),
            *(count(one.multiply_adds), _percent(one.multiply_adds, total.multiply_adds)),
            field.text if field and name != "total" else "",
        )

    for stage, one in inspected.stages.items():
        add(stage, one)
    add("total", total)
    return table


def _percent(part: int, whole: int) -> str:
    return "" if part == whole else share(part, whole).replace(" %", "%")


def _layers(stage: str, layers: Sequence[Layer]) -> Table:
    table = new_table([stage, "kind", "window", "output"], ["values", "params", "mult-\nadds", "field"])
    for layer in layers:
        table.add_row(
            *(_short(layer.name), _kind(layer), window(layer)),
            *(shape(layer.output), count(layer.values) if layer.values else "", _some(layer.parameters)),
            *(_some(layer.multiply_adds), layer.field.text if layer.field else ""),
        )
    return table


def _short(name: str) -> str:
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]


def _kind(layer: Layer) -> str:
    kind = {"convolution": "conv", "average pool": "avg pool"}.get(layer.kind, layer.kind)
    return f"{kind}+{layer.activation}" if layer.activation else kind


def _some(number: int) -> str:
    return count(number) if number else ""


def _training(inspected: Inspected) -> Table:
    title = f"A training step of {inspected.batch} images, beside the weights"
    table = new_table(["trained"], ["parameters", "activations", "gradients", "optimizer", "total", "mult-adds"], title)
    for cost in inspected.costs:
        name = cost.name if cost is inspected.costs[0] else f"{inspected.strategy}: {cost.name}"
        table.add_row(
            *(name, count(cost.parameters), memory(cost.activation_bytes(inspected.batch, inspected.precision))),
            *(memory(cost.gradient_bytes), memory(cost.optimizer_bytes)),
            memory(cost.total_bytes(inspected.batch, inspected.precision)),
            count(inspected.batch * cost.multiply_adds),
        )
    return table


def _explained(inspected: Inspected) -> list[str]:
    lines = []
    for cost in inspected.costs[1:]:
        lines.append(f"  {inspected.strategy}: {cost.name} trains {', '.join(cost.trained)}")
        if cost.frozen_multiply_adds:
            part = share(cost.frozen_multiply_adds, cost.multiply_adds)
            lines.append(f"  {part} of its multiply-adds are frozen stages, computed once and cached")
    if len(inspected.costs) == 1:
        lines.append(f"  {inspected.strategy} trains no stage of the network by gradient")
    return lines


def _measured(inspected: Inspected) -> Table:
    measured = inspected.measured
    assert measured is not None
    title = f"On {measured.images} images, after the activation function; gradient of {measured.batch} of them"
    table = new_table(["layer", "kind"], ["mean", "std", "dead units", "gradient / weights"], title)
    for row, layer in enumerate(inspected.measured_layers):
        if row not in measured.activations or not layer.stage:
            continue
        found = measured.activations[row]
        norm = measured.weights.get(row, 0.0)
        ratio = f"{measured.gradients[row] / norm:.2e}" if norm and row in measured.gradients else ""
        dead = f"{found.dead} of {found.units}" if found.dead else ""
        table.add_row(_short(layer.name), _kind(layer), f"{found.mean:.3g}", f"{found.std:.3g}", dead, ratio)
    return table
