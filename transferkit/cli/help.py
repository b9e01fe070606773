"""The text of --help: commands, the groups with their choices, and the keys of what the command line names.

Hydra's own takes most of a second, since it looks for each group's choices anew. Imported at every start: only what is
light.
"""

import textwrap
from collections.abc import Sequence

from transferkit.cli.commands import COMMANDS, split_words, usage
from transferkit.config.choice_files import GROUPS, choices, config_dir

HEADER = """\
transferkit: which pretrained network, how much of it to train, and how well will it work?

  transferkit                                            embedded default: offline, under a minute
  transferkit fit photos/                                a folder of class folders, ImageNet ResNet-50
  transferkit fit photos/ backbone=efficientnet_lite0    the same without a network
  transferkit fit photos/ backbone=vgg16 epochs=5 lr=1e-4
  transferkit fit flowers backbone=vgg16                 a torchvision data set, another network
  transferkit -m fit photos/ backbone=resnet18,resnet50 'seed=range(3)'
  transferkit predict latest more_photos/                with the model that was fitted last"""

FOOTER = """\
A sub-command NAME is task=NAME; transferkit NAME --help explains its arguments.
Every value can be set with key=value. All keys and values: transferkit [group=choice ...] --cfg job
The keys of a choice, with what they are for: transferkit group=choice --help
Hydra's own flags: --hydra-help. Errors with traceback: HYDRA_FULL_ERROR=1."""

COMMAND_FOOTER = """\
Every key of every group can be set, too: backbone=vgg16 strategy=finetune_few trainer.device=cpu.
All groups and their choices: transferkit --help. The keys of a choice: transferkit strategy=lora --help"""


def help_text(arguments: Sequence[str]) -> str:
    """Return the help for the arguments of a command line: with the files of the choices that they name."""
    groups = "\n".join(
        textwrap.fill(", ".join(choices(group)), 100, initial_indent=f"  {group}: ", subsequent_indent="    ")
        for group in GROUPS
    )
    named = [argument.split("=", 1) for argument in arguments if "=" in argument]
    files = [f"{group}/{choice}" for group, choice in named if choice in choices(group)]
    texts = "".join(f"{name}\n\n{textwrap.indent(_text(name), '  ')}\n" for name in (files or ["config"]))
    words = [word for word in split_words(arguments)[0] if word in COMMANDS]
    if words and not files:
        return _command_text(words[0])
    commands = "\n".join(f"  {name:10}{command.text}" for name, command in COMMANDS.items())
    listed = f"Sub-commands:\n\n{commands}\n\nGroups and their choices (group=choice):\n\n{groups}"
    return f"{HEADER}\n\n{listed}\n\n{texts}\n{FOOTER}"


def _command_text(name: str) -> str:
    """Return the help of a sub-command: usage, arguments, and the file of its task."""
    command = COMMANDS[name]
    lines = [f"{usage(name)}\n\n{command.text[0].upper()}{command.text[1:]}.\n"]
    lines += [f"  {one.name:10}{one.text}" for one in command.arguments]
    shared = ["epochs", "lr"] if name in ("fit", "pretrain") else []
    lines += [f"  {line}" for line in _text("config").splitlines() if line.split(":")[0] in shared]
    task = textwrap.indent(_text(f"task/{name}").replace("# @package _global_\n", ""), "  ")
    return "\n".join([*lines, f"\nconf/task/{name}.yaml:\n\n{task}\n{COMMAND_FOOTER}"])


def _text(name: str) -> str:
    """Return the content of a file of the configuration, and of the one with the keys that its group shares."""
    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    body = text.partition("\ndefaults:\n")
    if not body[1]:
        return text
    entries, _, keys = body[2].partition("\n\n")
    shared = [line.split("@")[0].split("/")[-1] for line in entries.splitlines() if "/shared/" in line]
    return "".join([f"{body[0]}\n" if name != "config" else "", keys, *(_text(f"shared/{other}") for other in shared)])
