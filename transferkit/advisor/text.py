"""The advice as plain text for the screen."""

from transferkit.advisor.advice import Advice
from transferkit.advisor.evidence import Evidence
from transferkit.advisor.quadrant import TABLE
from transferkit.report.facts import duration

WIDTH = 18

SCORE_NAMES = {"logme": "LogME", "h_score": "H-score", "leep": "LEEP"}


def advice_text(advice: Advice, title: str) -> str:
    """Return a compact report in plain text."""
    verdict, evidence = advice.verdict, advice.evidence
    best = verdict.recommended
    lines = [
        "",
        title,
        "",
        *quadrant_lines(verdict.size, verdict.similarity),
        "",
        f"{verdict.size.capitalize()} and {verdict.similarity}: {verdict.sureness} "
        f"(probability {100 * verdict.probability:.0f} %). The CS231n table suggests {verdict.strategy}; "
        + ("the measurements agree." if best == verdict.strategy else f"the measurements favour {best}."),
        "",
        "Evidence",
        *(f"  - {reason}" for reason in verdict.reasons),
        "",
        "Probe accuracy by stage, " + ("cross-validated (val is small)" if advice.cross_validated else "on val"),
        *_bars(evidence),
        "",
        "Strategy          expected top-1   expected cost (estimates)",
        *_strategies(advice),
        "",
        f"More images       {advice.curve.verdict}",
    ]
    return "\n".join(line.rstrip() for line in lines)


def quadrant_lines(size: str, similarity: str) -> list[str]:
    """The CS231n table with the place of the data marked."""
    header = " " * 14 + "".join(f"{kind:<{WIDTH + 4}}" for kind in ("similar", "different"))
    rows = []
    for kind in ("small", "large"):
        cells = []
        for other in ("similar", "different"):
            name = TABLE[kind, other]
            cells.append(f"[{name}]" if (kind, other) == (size, similarity) else f" {name} ")
        rows.append(f"  {kind:<12}" + "".join(f"{cell:<{WIDTH + 4}}" for cell in cells))
    return [header, *rows]


def _bars(evidence: Evidence) -> list[str]:
    best = evidence.best_stage
    return [
        f"  {stage:<8} {100 * value:5.1f} %  {'#' * round(30 * value)}{'  best' if stage == best else ''}"
        for stage, value in evidence.probes.items()
    ]


def _strategies(advice: Advice) -> list[str]:
    expected = advice.verdict.contenders
    order = [*expected, *sorted(set(advice.costs) - set(expected), key=lambda name: advice.costs[name])]
    rows = []
    for name in order:
        top1 = f"{100 * expected[name]:6.1f} %" if name in expected else ""
        cost = duration(advice.costs[name]) if name in advice.costs else ""
        rows.append(f"  {name:<16}{top1:>14}{cost:>16}")
    return rows
