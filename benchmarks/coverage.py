"""Which networks of timm and torchvision can be cut into stages: `python -m benchmarks.coverage [--sizes FILE]`.

For the smallest member of every family of timm, and every classification network of torchvision, with random weights:
build, cut, and compare what the stages give one after the other with what the network gives. Writes docs/coverage.md.
Counting the parameters of all networks takes some minutes; `--sizes` keeps the counts in a JSON file.
"""

import argparse
import copy
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.cut import cut
from transferkit.backbones.from_timm import preprocessing
from transferkit.backbones.from_torchvision import names as torchvision_names
from transferkit.backbones.original import no_init
from transferkit.backbones.stage_sequence import BackboneSpec, feature
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

PAGE = Path(__file__).parents[1] / "docs" / "coverage.md"
_LARGE = 60_000_000
_LARGEST_TORCHVISION = 100_000_000  # its larger networks only repeat the blocks of the smaller ones


@dataclass(frozen=True)
class Row:
    """One network: whether its stages equal it, or why not."""

    family: str
    name: str
    stages: str
    pool: str
    reason: str = ""

    @property
    def line(self) -> str:
        """The row of the table."""
        reason = self.reason.replace("|", "/") or "equal"
        return f"| {self.family} | {self.name} | {self.stages} | {self.pool} | {reason} |"


def count_parameters() -> dict[str, dict[str, int]]:
    """Family to network to number of parameters."""
    counts: dict[str, dict[str, int]] = {}
    for family in timm.list_modules():
        for name in timm.list_models(module=family):
            try:
                with torch.device("meta"), no_init():
                    model = timm.create_model(name)
            except Exception:  # some compute while they are built
                with no_init():
                    model = timm.create_model(name)
            counts.setdefault(family, {})[name] = sum(p.numel() for p in model.parameters())
    return counts


def check(family: str, name: str, model: nn.Module, size: tuple[int, int]) -> Row:
    """Cut a network and compare it with itself."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.05)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
                module.running_var.uniform_(0.5, 1.5)
    original = copy.deepcopy(model).eval()
    try:
        stages, infos = cut(model, size, name)
        backbone = Backbone(stages, infos, Preprocessing(), BackboneSpec("", name)).eval()
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = original(images)
            found = feature(backbone(images))
    except TransferkitError as error:
        why = str(error).split("cannot be cut into stages: ")[-1].split(" Other networks can")[0]
        return Row(family, name, "", "", why)
    except Exception as error:
        return Row(family, name, "", "", f"{type(error).__name__}: {str(error).splitlines()[0]}")
    shown = ", ".join(f"{n.removeprefix('stage')}: {i.kind} /{i.stride}" for n, i in infos.items() if n != "head")
    top = infos[backbone.top]
    equal = torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
    return Row(family, name, shown, top.pool, "" if equal else "the output differs")


def _built(name: str, parameters: int) -> tuple[nn.Module, str]:
    """A network of timm and what it is called in the table: of large transformers only four blocks."""
    with no_init():
        if parameters > _LARGE:
            try:
                return timm.create_model(name, depth=4), f"{name}, depth 4"
            except TypeError:
                pass  # it has no such argument
        return timm.create_model(name), name


def timm_rows(counts: dict[str, dict[str, int]]) -> list[Row]:
    """The smallest network of each family."""
    rows = []
    for family, members in counts.items():
        name = min(members, key=members.__getitem__)
        model, name = _built(name, members[name])
        start = time.perf_counter()
        config: Any = model.pretrained_cfg
        size = preprocessing(dict(config)).input_size
        rows.append(check(family, name, model, size))
        print(f"{rows[-1].line} {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def torchvision_rows() -> list[Row]:
    """Every classification network, but for the largest."""
    rows = []
    for name in torchvision_names():
        fixed = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        with no_init():
            model = torchvision.models.get_model(name, weights=None, **fixed)
        if sum(p.numel() for p in model.parameters()) > _LARGEST_TORCHVISION:
            continue
        size = (299, 299) if name == "inception_v3" else (224, 224)
        rows.append(check("torchvision", name, model, size))
        print(rows[-1].line, flush=True)
    return rows


def page(families: list[Row], networks: list[Row]) -> str:
    """The page, in Markdown."""
    head = "| family | network | stages: kind /stride | pool | stages against the network |\n|---|---|---|---|---|\n"
    done = [sum(not row.reason for row in rows) for rows in (families, networks)]
    return (
        "# Coverage\n\n"
        "Written by `python -m benchmarks.coverage`, with random weights: the smallest member of every\n"
        "family (module) of timm, and torchvision's classification networks of up to 100 M parameters.\n"
        '"equal": the stages one after the other give what the network gives.\n\n'
        f"timm {timm.__version__}: {done[0]} of {len(families)} families ({done[0] / len(families):.0%}). "
        f"torchvision {torchvision.__version__.split('+')[0]}: {done[1]} of {len(networks)} networks.\n\n"
        f"## timm\n\n{head}" + "\n".join(row.line for row in families) + "\n\n"
        f"## torchvision\n\n{head}" + "\n".join(row.line for row in networks) + "\n"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Which networks can be cut into stages")
    parser.add_argument("--sizes", type=Path, help="JSON file that keeps the parameter counts")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.sizes and arguments.sizes.is_file():
        counts = json.loads(arguments.sizes.read_text())
    else:
        counts = count_parameters()
        if arguments.sizes:
            arguments.sizes.write_text(json.dumps(counts))
    PAGE.write_text(page(timm_rows(counts), torchvision_rows()), encoding="utf-8")


if __name__ == "__main__":
    main()
