"""The experiment on initialisation: in the terminal, as a table, and as a page with two figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from transferkit.files import write_csv, write_text
from transferkit.inspection.initialisation import ACTIVATIONS, IMAGES, INITS, LAYERS, UNITS, Depth
from transferkit.inspection.inspect_text import new_table, rendered
from transferkit.report.figures import INK, LINES, new_figure, to_svg
from transferkit.report.render import render

Depths = Mapping[tuple[str, str], Sequence[Depth]]
"""Activation function and initialisation to the layers."""

COLUMNS = ("activation", "init", "layer", "mean", "std", "saturated", "gradient_std")
_SMALLEST = 1e-30


def initialisation_text(depths: Depths) -> str:
    """Standard deviations by layer, in plain text."""
    lines = ["", f"{LAYERS} layers of {UNITS} units, {IMAGES:,} inputs from a standard normal distribution"]
    for activation in ACTIVATIONS:
        for title, name in (("activations", "std"), ("gradients", "gradient_std")):
            table = new_table(["layer"], list(INITS), f"{activation}: standard deviation of the {title}")
            for layer in range(LAYERS):
                values = [getattr(depths[activation, init][layer], name) for init in INITS]
                table.add_row(str(layer + 1), *(f"{value:.3g}" for value in values))
            lines += ["", rendered(table)]
    return "\n".join(lines)


def write_initialisation(folder: Path, depths: Depths, command: str) -> None:
    """Write initialisation.csv and report.html."""
    rows = (
        [*names, row.layer, *(f"{value:.6g}" for value in (row.mean, row.std, row.saturated, row.gradient_std))]
        for names, layers in depths.items()
        for row in layers
    )
    write_csv(folder / "initialisation.csv", COLUMNS, rows)
    write_text(folder / "report.html", render_initialisation(depths, command))


def render_initialisation(depths: Depths, command: str) -> str:
    """Return the page."""
    content = {
        "depths": depths,
        "figures": {activation: Markup(depth_figure(depths, activation)) for activation in ACTIVATIONS},
        "inits": list(INITS),
        "layers": LAYERS,
        "units": UNITS,
        "images": IMAGES,
        "command": command,
    }
    return render("initialisation.html.j2", content, "inspection")


def depth_figure(depths: Depths, activation: str) -> str:
    """Draw the standard deviation of activations, and below it of gradients, over the layers."""
    numbers = range(1, LAYERS + 1)
    with new_figure(6.4, 5, rows=2, sharex=True) as (figure, (axes, below)):
        for init, colour in zip(INITS, LINES, strict=False):
            rows = depths[activation, init]
            axes.plot(numbers, [max(row.std, _SMALLEST) for row in rows], "o-", color=colour, ms=3, label=init)
            below.plot(numbers, [max(row.gradient_std, _SMALLEST) for row in rows], "o-", color=colour, ms=3)
        axes.set(yscale="log", ylabel="activations, std")
        below.set(yscale="log", ylabel="gradients, std", xlabel="layer")
        below.set_xticks(list(numbers))
        axes.legend(frameon=False, labelcolor=INK, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
        return to_svg(figure, f"{activation}: standard deviation of activations and gradients by layer")
