"""The verdict on a run in a sentence or two, and what to do next, with commands to copy."""

from dataclasses import dataclass

from transferkit.report.classes import Confusion, confused_pairs
from transferkit.report.command_text import command_of, without
from transferkit.report.facts import Headline, percent, plural
from transferkit.report.run_result import RunResult

PAIR_SHARE, PAIR_IMAGES = 0.25, 3
"""A pair of classes is named if it has this share of all mistakes, and so many of them."""
STEPS_SHOWN = 4
FITTING = ("strategy", "epochs=", "lr=")
"""Arguments that belong to the strategy that was fitted."""


@dataclass(frozen=True)
class Step:
    """One thing to do: why, and the command that does it."""

    text: str
    command: str = ""


def verdict(result: RunResult, found: Headline) -> list[str]:
    """Return sentences that say whether the model is of use, and what limits what is known about it."""
    told = [_worth(found)]
    leaked = _copies(result)
    if leaked:
        told.append(f"{plural(leaked, 'test image')} also in train or val: on new images expect less.")
    return told


def _worth(found: Headline) -> str:
    baseline = f"always predicting “{found.commonest}”"
    if found.low <= found.guessing:
        return f"Not usable: within chance of {baseline}, which is right for {percent(found.guessing)}."
    least, most = 100 * (1 - found.high), 100 * (1 - found.low)
    range_ = f"{least:.0f} to {most:.0f}" if least >= 1 else (f"up to {most:.0f}" if most >= 1 else "less than one")
    sure = "" if most - least <= 5 else " More test images would narrow this."
    return f"Better than {baseline} beyond chance. Of 100 new images like these, expect {range_} mistakes.{sure}"


def _copies(result: RunResult) -> int:
    same = result.metrics.get("data", {}).get("identical", {})
    return max(int(same.get(split, 0)) for split in ("test_in_train", "test_in_val"))


def next_steps(result: RunResult, found: Headline, confusion: Confusion) -> list[Step]:
    """Return what to do next, the most urgent first."""
    improved = [*_data_steps(result, found, confusion), *_strategy_steps(result, found)]
    use = Step(
        "Classify other photographs; each is marked as like the training images or not.",
        command_of("task=predict", f"run={result.run}", "images=DIR"),
    )
    return [*improved[: STEPS_SHOWN - 1], use] if found.correct < found.n else [use, *improved[: STEPS_SHOWN - 1]]


def _data_steps(result: RunResult, found: Headline, confusion: Confusion) -> list[Step]:
    """Steps that look at the data or mend it."""
    check = command_of("task=check", *without(result.arguments, *FITTING))
    steps = []
    same = result.metrics.get("data", {}).get("identical", {})
    if _copies(result):
        dropped = command_of(*without(result.arguments, "dataset.on_leak="), "dataset.on_leak=drop")
        steps.append(Step("Fit again without the copies of test images in train and val.", dropped))
    if same.get("other_label"):
        steps.append(Step("The same images have different labels: list them, and correct the folders.", check))
    elif found.low <= found.guessing:
        steps.append(Step("Check that folders are classes and that the labels are right.", check))
    else:
        wrong = found.n - found.correct
        for pair in confused_pairs(confusion, 1):
            if pair.count >= max(PAIR_IMAGES, PAIR_SHARE * wrong):
                text = f"{pair.count} of {plural(wrong, 'mistake')}: “{pair.true}” taken for “{pair.predicted}”."
                steps.append(Step(f"{text} Look at them below; the check lists suspected label errors.", check))
    return steps


def _strategy_steps(result: RunResult, found: Headline) -> list[Step]:
    """Steps that may make the model better, for a run that fitted one."""
    strategy = result.metrics.get("strategy")
    if not strategy or found.correct == found.n:
        return []
    advise = Step(
        "Measure what finetuning and more images would bring.",
        command_of("task=advise", *without(result.arguments, *FITTING)),
    )
    if strategy == "auto":
        return [advise]
    auto = command_of(*without(result.arguments, *FITTING), "strategy=auto")
    return [Step("Let trials on held-out images choose the strategy.", auto), advise]
