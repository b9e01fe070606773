"""The measured cases that calibrated the rules of the quadrant. To add one: `_case` says what its numbers are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transferkit.quadrant import COST_ORDER, Evidence


@dataclass(frozen=True)
class Case:
    """A measured case: the evidence, the test top-1 of each strategy, and the corner that a person would name."""

    name: str
    evidence: Evidence
    top1: Mapping[str, float]
    corner: tuple[str, str]


def _case(name: str, corner: str, shape: str, probes: str, rest: str, top1: str) -> Case:
    """A case from numbers in text, the last three in thousandths.

    Args:
        name: Data and source.
        corner: Size and similarity.
        shape: Images, classes, features, images judged on.
        probes: Accuracy by stage, the top one last.
        rest: Nearest neighbours, then the distance: all, early, late; what is missing was not kept.
        top1: On test: linear probe, stage probe, few, many, all layers from the probe's head (lp_ft).
    """
    images, classes, features, judged = map(int, shape.split())
    values, known, tested = ([int(value) / 1000 for value in text.split()] for text in (probes, rest, top1))
    stages = {f"stage{6 - len(values) + i}": value for i, value in enumerate(values)}
    optional: dict[str, Any] = dict(zip(("neighbors", "distance", "early", "late"), known, strict=False))
    size, similarity = corner.split()
    evidence = Evidence(images, classes, features, judged, stages, **optional)
    return Case(name, evidence, dict(zip(COST_ORDER, tested, strict=True)), (size, similarity))


_SS, _SD, _LS, _LD = "small similar", "small different", "large similar", "large different"

# One seed each, so a point or two is noise. The first seven: MobileNetV2 in plain torch, tested on some 150 images; of
# textures and medical scans the number of classes was not kept, and ten is assumed. The others: the embedded ResNets
# (192 features), tested on 359 or 500 images; of fractals and letters with gentler rates than now.
CASES: list[Case] = [
    _case("ants and bees, ImageNet", _SS, "244 2 1280 153", "967", "", "967 967 961 941 954"),
    _case("ants and bees, insects, 20", _SS, "40 2 1280 153", "941", "", "941 941 935 935 948"),
    _case("textures, ImageNet", _SD, "50 10 1280 153", "675", "", "675 658 696 658 650"),
    _case("ants and bees, birds", _SD, "244 2 1280 153", "882 856", "", "856 882 856 928 908"),
    _case("ants and bees, birds, 20", _SD, "40 2 1280 153", "850", "", "850 824 856 889 928"),
    _case("medical scans, ImageNet", _SD, "80 10 1280 153", "424", "", "424 406 472 584 576"),
    _case("characters, ImageNet", _SD, "680 136 1280 680", "674 653", "", "653 674 637 681 672"),
    _case("digits, glyphs, 5", _SS, "40 10 192 50", "620 680 900 900 920", "880 80 91 99", "939 939 922 919 916"),
    _case("digits, glyphs, 20", _SS, "160 10 192 200", "840 910 965 960 965", "965 89 97 117", "972 969 967 975 975"),
    _case("digits, glyphs", _LS, "1079 10 192 359", "958 953 975 997 989", "992 91 98 119", "989 997 980 997 992"),
    _case(
        "fractals, glyphs, 5", _SD, "200 50 192 250", "648 640 652 664 620", "584 115 175 131", "726 716 688 698 682"
    ),
    _case("digits, fractals, 5", _SD, "40 10 192 50", "640 720 800 860 720", "700 344 187 756", "724 889 760 827 836"),
    _case(
        "digits, fractals, 20", _SD, "160 10 192 200", "805 850 910 920 900", "855 337 195 722", "928 942 950 955 950"
    ),
    _case("digits, fractals", _LD, "1079 10 192 359", "950 928 961 972 939", "933 358 184 797", "964 972 964 986 986"),
    _case("fractals, fractals, 5", _SS, "200 50 192 250", "656 700 776 856 976", "960 11 0 33", "964 964 956 946 942"),
    _case("glyphs, fractals, 5", _SD, "200 50 192 250", "92 88 148 140 132", "108 133 188 148", "110 110 112 148 160"),
    _case(
        "glyphs, fractals, 20", _SD, "800 50 192 200", "200 125 155 210 225", "140 124 173 136", "270 270 258 316 352"
    ),
]
"""What calibrated the numbers above, with what won; a number after the names is that of labelled images per class."""
