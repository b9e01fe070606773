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
        top1: On test, in `COST_ORDER`: linear probe, stage probe, nearest neighbours, few, many, all layers from the
            probe's head (lp_ft), the same as if from scratch (retrain); "-" for what was not measured.
    """
    images, classes, features, judged = map(int, shape.split())
    values, known = ([int(value) / 1000 for value in text.split()] for text in (probes, rest))
    tested = {n: int(v) / 1000 for n, v in zip(COST_ORDER, top1.split(), strict=True) if v != "-"}
    stages = {f"stage{6 - len(values) + i}": value for i, value in enumerate(values)}
    optional: dict[str, Any] = dict(zip(("neighbors", "distance", "early", "late"), known, strict=False))
    size, similarity = corner.split()
    evidence = Evidence(images, classes, features, judged, stages, **optional)
    return Case(name, evidence, tested, (size, similarity))


_SS, _SD, _LS, _LD = "small similar", "small different", "large similar", "large different"

# One seed each, so a point or two is noise. Ants and bees through ImageNet, and all through the embedded ResNets (192
# features): the defaults of docs/quadrant.md, 153, 359 or 600 test images. The next six, and fractals through fractals:
# earlier, with gentler rates; of textures and medical scans the number of classes was not kept, and ten is assumed.
CASES: list[Case] = [
    _case(
        "ants and bees, ImageNet, 5",
        _SS,
        "8 2 1280 10",
        "800 700 700 1000 800",
        "1000 40 6 86",
        "837 739 928 869 778 - -",
    ),
    _case(
        "ants and bees, ImageNet, 20",
        _SS,
        "32 2 1280 40",
        "675 700 775 850 1000",
        "1000 37 10 58",
        "922 922 941 941 941 - -",
    ),
    _case(
        "ants and bees, ImageNet",
        _SS,
        "195 2 1280 244",
        "639 746 766 881 980",
        "971 37 21 50",
        "961 961 961 961 961 961 -",
    ),
    _case("ants and bees, insects, 20", _SS, "40 2 1280 153", "941", "", "941 941 - 935 935 948 -"),
    _case("ants and bees, birds", _SD, "244 2 1280 153", "882 856", "", "856 882 - 856 928 908 -"),
    _case("ants and bees, birds, 20", _SD, "40 2 1280 153", "850", "", "850 824 - 856 889 928 -"),
    _case("textures, ImageNet", _SD, "50 10 1280 153", "675", "", "675 658 - 696 658 650 -"),
    _case("medical scans, ImageNet", _SD, "80 10 1280 153", "424", "", "424 406 - 472 584 576 -"),
    _case("characters, ImageNet", _SD, "680 136 1280 680", "674 653", "", "653 674 - 637 681 672 -"),
    _case(
        "digits, fractals, 5",
        _SD,
        "40 10 192 50",
        "640 720 800 860 720",
        "680 344 187 756",
        "724 889 632 760 827 836 869",
    ),
    _case(
        "digits, fractals, 20",
        _SD,
        "160 10 192 200",
        "805 850 910 920 900",
        "850 337 195 722",
        "928 942 902 950 955 950 939",
    ),
    _case(
        "digits, fractals, 100",
        _LD,
        "800 10 192 200",
        "920 920 950 960 935",
        "950 362 187 808",
        "950 967 955 953 967 980 972",
    ),
    _case(
        "digits, fractals",
        _LD,
        "1079 10 192 359",
        "950 928 961 972 939",
        "944 358 184 797",
        "964 972 953 964 986 986 994",
    ),
    _case(
        "digits, glyphs, 5", _SS, "40 10 192 50", "620 680 900 900 920", "920 80 91 99", "939 939 925 922 919 916 936"
    ),
    _case(
        "digits, glyphs, 20",
        _SS,
        "160 10 192 200",
        "840 910 965 960 965",
        "970 89 97 117",
        "972 969 964 967 975 975 972",
    ),
    _case(
        "digits, glyphs, 100",
        _LS,
        "800 10 192 200",
        "950 930 960 970 980",
        "970 88 94 115",
        "994 994 992 986 983 983 997",
    ),
    _case(
        "digits, glyphs", _LS, "1079 10 192 359", "958 953 975 997 989", "989 91 98 119", "989 997 978 980 997 992 997"
    ),
    _case(
        "fractals, glyphs, 5",
        _SD,
        "80 20 192 100",
        "770 720 730 690 610",
        "590 129 169 182",
        "683 752 725 610 653 583 672",
    ),
    _case(
        "fractals, glyphs, 20",
        _SD,
        "320 20 192 400",
        "915 878 938 922 912",
        "938 131 177 181",
        "947 958 972 928 963 968 980",
    ),
    _case(
        "fractals, glyphs, 100",
        _LD,
        "1600 20 192 400",
        "968 960 978 990 988",
        "995 132 168 191",
        "990 993 997 987 990 995 997",
    ),
    _case(
        "glyphs, fractals, 5",
        _SD,
        "80 20 192 100",
        "140 160 170 200 190",
        "170 137 187 161",
        "192 192 203 180 180 180 237",
    ),
    _case(
        "glyphs, fractals, 20",
        _SD,
        "320 20 192 400",
        "232 182 278 330 332",
        "300 144 200 161",
        "357 357 303 358 448 477 530",
    ),
    _case(
        "glyphs, fractals, 100",
        _LD,
        "1600 20 192 400",
        "410 245 360 460 460",
        "450 143 203 152",
        "508 480 472 565 697 738 825",
    ),
    _case(
        "fractals, fractals, 5", _SS, "200 50 192 250", "656 700 776 856 976", "960 11 0 33", "964 964 - 956 946 942 -"
    ),
]
"""What calibrated the rules, with what won; a number after the names is that of labelled images per class."""
