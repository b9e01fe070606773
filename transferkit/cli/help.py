"""The text of --help: commands, the groups with their choices, and the keys of what the command line names.

Hydra's own takes most of a second, since it looks for each group's choices anew. Imported at every start: only what is
light.
"""

import textwrap
from collections.abc import Sequence

from transferkit.config.choice_files import GROUPS, choices, config_dir

HEADER = """\
transferkit: which pretrained network, how much of it to train, and how well will it work?

  transferkit                                            embedded default: offline, under a minute
  transferkit dataset=folder dataset.root=photos         a folder of class folders, ImageNet ResNet-50
  transferkit dataset=folder dataset.root=photos backbone=efficientnet_lite0     the same without a network
  transferkit dataset=flowers backbone=vgg16             a torchvision data set, another network
  transferkit -m backbone=resnet18,resnet50 seed=range(3)
  transferkit task=check dataset=folder dataset.root=photos      duplicates, suspected label errors, outliers
  transferkit task=compare runs=multirun
  transferkit task=evaluate run=RUN_DIR
  transferkit task=predict run=RUN_DIR images=DIR"""

FOOTER = """\
Every value can be set with key=value. All keys and values: transferkit [group=choice ...] --cfg job
The keys of a choice, with what they are for: transferkit group=choice --help
Hydra's own flags: --hydra-help. Errors with traceback: HYDRA_FULL_ERROR=1."""


def help_text(arguments: Sequence[str]) -> str:
    """Return the help for the arguments of a command line: with the files of the choices that they name."""
    groups = "\n".join(
        textwrap.fill(", ".join(choices(group)), 100, initial_indent=f"  {group}: ", subsequent_indent="    ")
        for group in GROUPS
    )
    named = [argument.split("=", 1) for argument in arguments if "=" in argument]
    files = [f"{group}/{choice}" for group, choice in named if choice in choices(group)]
    texts = "".join(f"{name}\n\n{textwrap.indent(_text(name), '  ')}\n" for name in (files or ["config"]))
    return f"{HEADER}\n\nGroups and their choices (group=choice):\n\n{groups}\n\n{texts}\n{FOOTER}"


def _text(name: str) -> str:
    """Return the content of a file of the configuration, and of the one with the keys that its group shares."""
    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    body = text.partition("\ndefaults:\n")
    if not body[1]:
        return text
    entries, _, keys = body[2].partition("\n\n")
    shared = [line.split("@")[0].split("/")[-1] for line in entries.splitlines() if "/shared/" in line]
    return "".join([f"{body[0]}\n" if name != "config" else "", keys, *(_text(f"shared/{other}") for other in shared)])
