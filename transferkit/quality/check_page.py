"""The page of a check, `check.html`: the problems of each kind with pictures, as one self-contained file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.files import write_text
from transferkit.quality.check_text import count_words, weak_probe
from transferkit.quality.find_problems import Checked
from transferkit.quality.problems import KINDS, AllImages, Problem
from transferkit.report.examples import short_names, thumbnail
from transferkit.report.next_steps import Step
from transferkit.report.render import render


@dataclass(frozen=True)
class Picture:
    """One image on the page.

    Attributes:
        name: Path below the common folder of the images, or index.
        split: Where it is.
        label: Name of its class.
        picture: A `data:` URI of the thumbnail, or None if the image cannot be read.
        tiny: Whether it is enlarged with visible pixels.
    """

    name: str
    split: str
    label: str
    picture: str | None
    tiny: bool


@dataclass(frozen=True)
class Shown:
    """A problem on the page, with its image and the related one, where there are any."""

    problem: Problem
    image: Picture | None
    related: Picture | None


def write_check_page(
    path: Path, checked: Checked, about: Mapping[str, Any], most: int, steps: Sequence[Step] = ()
) -> None:
    """Write the page.

    Args:
        path: The HTML file; an existing one is replaced atomically.
        checked: The problems.
        about: The content of check.json.
        most: Problems shown of each kind.
        steps: To do next.
    """
    write_text(path, render_check(checked, about, most, steps))


def render_check(checked: Checked, about: Mapping[str, Any], most: int, steps: Sequence[Step] = ()) -> str:
    """Return the page."""
    shown = {kind: checked.of_kind(kind)[:most] for kind in about["counts"]}
    rows = sorted(
        {row for problems in shown.values() for p in problems for row in (p.row, p.related) if row is not None}
    )
    pictures = dict(zip(rows, _pictures(checked.images, rows), strict=True))
    sections = [
        {
            "kind": kind,
            "title": KINDS[kind].title,
            "meaning": KINDS[kind].meaning,
            "count": about["counts"][kind]["all"],
            "words": count_words(kind, about["counts"][kind]),
            "shown": [
                Shown(
                    p,
                    pictures.get(-1 if p.row is None else p.row),
                    pictures.get(-1 if p.related is None else p.related),
                )
                for p in problems
            ],
        }
        for kind, problems in shown.items()
    ]
    found = sum(section["count"] for section in sections)
    weak = weak_probe(about["probe"]["out_of_fold_top1"], about["counts"])
    content = {"about": about, "sections": sections, "found": found, "weak": weak, "next_steps": steps}
    return render("check.html.j2", content, "quality")


def _pictures(images: AllImages, rows: list[int]) -> list[Picture]:
    names = [images.names[row] for row in rows]
    names = short_names(names) if all(part.in_files for part in images.sets) else names
    found = []
    for row, name in zip(rows, names, strict=True):
        split = int(images.splits[row])
        place = row - sum(images.sizes[:split])
        found.append(Picture(name, images.split(row), images.label(row), *thumbnail(images.sets[split], place)))
    return found
