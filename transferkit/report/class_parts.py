"""One of several classes in tables of predictions and on the screen."""

from transferkit.report.target_parts import Row, TableParts

TABLE = TableParts(
    header=lambda target: Row(["predicted", "confidence"], list(target.names)),
    cells=lambda found: Row(
        [found.label, f"{found.confidence:.6f}"], [f"{value:.6f}" for value in found.probabilities]
    ),
    brief=lambda found: f"{100 * found.confidence:5.1f} %  {found.label:20}",
)
