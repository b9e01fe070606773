"""Which tasks and strategies there are for `ensemble`: members with other seeds, or snapshots of one run."""

from collections.abc import Mapping
from typing import Any

SNAPSHOTS = "snapshots"


def several(settings: Mapping[str, Any]) -> bool:
    """Whether `ensemble` asks for more than one model."""
    return bool(settings["ensemble"] == SNAPSHOTS or settings["ensemble"] > 1)


def ensemble_conflicts(settings: Mapping[str, Any]) -> list[str]:
    """Return a line for each choice that goes wrong with `ensemble`.

    Args:
        settings: The configuration, whose values are right alone.
    """
    if not several(settings):
        return []
    shard, found = settings["extract"]["shard"], list[str]()
    if settings["task"]["name"] != "fit" or shard is not None or settings["backbones"] is not None:
        found.append("ensemble is for task=fit of one network (without backbones and extract.shard).")
    elif settings["ensemble"] == SNAPSHOTS:
        found += [f"ensemble=snapshots {why}." for why in _of_snapshots(settings)]
    return found


def _of_snapshots(settings: Mapping[str, Any]) -> list[str]:
    """The reasons why one run has no snapshots."""
    strategy, schedule, selection = settings["strategy"], settings["schedule"], settings["selection"]["name"]
    phases = [phase for phase in strategy.get("phases", {}).values() if phase is not None]
    if not phases:
        return [
            f"takes its members from the course of a training, and strategy={strategy['name']} has no phases: use "
            "strategy=lp_ft, finetune_few or another that finetunes"
        ]
    cyclic, found = schedule["name"] == "cosine_restarts", list[str]()
    if not cyclic:
        found.append(
            f"takes a member at the end of each cycle of the learning rate, and schedule={schedule['name']} has none: "
            "use schedule=cosine_restarts, with schedule.cycles=5 for five members"
        )
    elif schedule["cycles"] < 2:
        found.append("needs two cycles or more: schedule.cycles=5")
    if selection not in ("auto", "last"):
        found.append(f"trains to the end of the plan, so that selection={selection} has nothing to choose")
    if any(phase["parameters"] == "lora" for phase in phases):
        found.append("is not for phases with parameters: lora")
    averaged = strategy.get("ema") or strategy.get("swa", {}).get("start") is not None
    if averaged or strategy.get("wise_ft") is not None:
        found.append("takes the weights as they are: strategy.ema=0 strategy.swa.start=null strategy.wise_ft=null")
    return found
