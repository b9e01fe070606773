"""The measured cases that the rules of the quadrant were calibrated on, one per line of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import COST_ORDER


@dataclass(frozen=True)
class Case:
    """A measured case: the evidence, the test top-1 of each strategy, and its corner by expert judgement."""

    name: str
    evidence: Evidence
    top1: Mapping[str, float]
    corner: tuple[str, str]


# One case per line, all accuracies and distances in thousandths:
# - data, source, labelled images per class if not all, # and the seed if not 0
# - the corner: Small or Large, Similar or Different
# - training images, classes, features, images that the accuracies were measured on
# - accuracy by stage, the top one last
# - nearest neighbours, then the distance: all, early, late; missing ones were not recorded
# - test top-1 in COST_ORDER: linear probe, stage probe, nearest neighbours, few, many, lp_ft, retrain; - for none
#
# One fit each, so a point or two is noise. Ants and bees through ImageNet, and all through the embedded ResNets (192
# features): the defaults of docs/quadrant.md, 153, 359 or 600 test images. The other photographs, and fractals through
# fractals: earlier, with lower learning rates; the number of classes of textures through ImageNet and of medical scans
# was not recorded, and ten is assumed.
_TABLE = """
ants and bees, ImageNet, 5| SS| 8 2 1280 10| 800 700 700 1000 800| 1000 40 6 86| 837 739 928 869 778 - 850
ants and bees, ImageNet, 20| SS| 32 2 1280 40| 675 700 775 850 1000| 1000 37 10 58| 922 922 941 941 941 - 856
ants and bees, ImageNet| SS| 195 2 1280 244| 639 746 766 881 980| 971 37 21 50| 961 961 961 961 961 961 961
ants and bees, insects, 20| SS| 40 2 1280 153| 941| | 941 941 - 935 935 948 -
ants and bees, birds| SD| 244 2 1280 153| 882 856| | 856 882 - 856 928 908 -
ants and bees, birds, 20| SD| 40 2 1280 153| 850| | 850 824 - 856 889 928 -
textures, ImageNet| SD| 50 10 1280 153| 675| | 675 658 - 696 658 650 -
medical scans, ImageNet| SD| 80 10 1280 153| 424| | 424 406 - 472 584 576 -
characters, ImageNet| SD| 680 136 1280 680| 674 653| | 653 674 - 637 681 672 -
fractals, fractals, 5| SS| 200 50 192 250| 656 700 776 856 976| 960 11 0 33| 964 964 - 956 946 942 -
digits, fractals, 5| SD| 40 10 192 50| 640 700 800 860 720| 680 344 187 756| 724 889 632 758 833 836 850
digits, fractals, 5 #1| SD| 40 10 192 50| 560 660 740 720 680| 600 369 195 822| 797 883 769 699 836 841 880
digits, fractals, 20| SD| 160 10 192 200| 805 850 910 920 900| 850 337 195 722| 928 928 903 950 955 950 942
digits, fractals, 20 #1| SD| 160 10 192 200| 855 865 895 900 885| 875 361 200 791| 900 916 880 936 944 953 919
digits, fractals, 100| LD| 800 10 192 200| 920 920 945 960 935| 950 362 187 808| 950 967 955 953 969 969 994
digits, fractals, 100 #1| LD| 800 10 192 200| 935 920 945 965 965| 965 366 195 811| 942 972 944 953 981 981 992
digits, fractals| LD| 1079 10 192 359| 950 928 961 972 939| 944 358 184 797| 955 972 953 967 986 983 983
digits, fractals #1| LD| 1079 10 192 359| 947 936 961 975 964| 972 354 193 772| 947 972 953 961 981 981 978
digits, glyphs, 5| SS| 40 10 192 50| 620 680 900 900 920| 920 80 91 99| 936 936 925 922 919 916 933
digits, glyphs, 5 #1| SS| 40 10 192 50| 640 740 780 880 920| 860 88 95 111| 850 850 930 922 955 950 939
digits, glyphs, 20| SS| 160 10 192 200| 840 915 965 960 965| 970 89 97 117| 969 972 964 967 975 975 969
digits, glyphs, 20 #1| SS| 160 10 192 200| 860 900 925 960 980| 980 92 98 123| 972 972 978 969 961 961 961
digits, glyphs, 100| LS| 800 10 192 200| 950 930 965 970 980| 970 88 94 115| 994 994 992 986 983 983 997
digits, glyphs, 100 #1| LS| 800 10 192 200| 940 970 975 985 995| 990 90 95 121| 978 978 989 983 992 994 983
digits, glyphs| LS| 1079 10 192 359| 964 953 975 997 989| 989 91 98 119| 989 1000 978 981 989 994 997
digits, glyphs #1| LS| 1079 10 192 359| 950 961 972 992 997| 994 95 98 133| 981 981 986 992 994 994 989
fractals, glyphs, 5| SD| 80 20 192 100| 770 720 730 690 610| 590 129 169 182| 682 740 725 610 653 583 668
fractals, glyphs, 5 #1| SD| 80 20 192 100| 750 730 690 660 660| 700 129 171 175| 702 737 728 610 620 618 648
fractals, glyphs, 20| SD| 320 20 192 400| 915 878 935 925 915| 938 131 177 181| 947 963 972 928 963 968 980
fractals, glyphs, 20 #1| SD| 320 20 192 400| 910 922 948 942 925| 970 130 169 183| 955 953 965 925 960 963 968
fractals, glyphs, 100| LD| 1600 20 192 400| 962 958 978 988 988| 995 132 168 191| 992 992 997 987 990 990 995
fractals, glyphs, 100 #1| LD| 1600 20 192 400| 975 950 970 988 985| 995 137 186 196| 993 992 997 987 995 997 1000
glyphs, fractals, 5| SD| 80 20 192 100| 140 160 180 200 190| 170 137 187 161| 192 192 203 180 180 180 238
glyphs, fractals, 5 #1| SD| 80 20 192 100| 70 90 150 200 190| 190 114 160 125| 227 233 248 208 255 265 300
glyphs, fractals, 20| SD| 320 20 192 400| 245 182 280 330 332| 300 144 200 161| 357 357 303 328 448 482 518
glyphs, fractals, 20 #1| SD| 320 20 192 400| 270 210 200 338 328| 258 147 212 155| 378 378 310 365 485 520 588
glyphs, fractals, 100| LD| 1600 20 192 400| 420 248 358 460 460| 450 143 203 152| 508 480 472 567 698 735 833
glyphs, fractals, 100 #1| LD| 1600 20 192 400| 395 270 328 470 448| 410 160 234 166| 492 495 458 542 682 715 815
glyphs, fractals| LD| 6000 20 192 600| 473 278 428 528 592| 585 175 254 182| 580 580 567 693 847 863 922
glyphs, fractals #1| LD| 6000 20 192 600| 473 278 428 528 592| 585 160 230 172| 580 580 567 695 852 865 932
textures, fractals, 5| SD| 80 20 192 100| 370 420 360 390 290| 210 2528 4764 1692| 215 357 205 217 283 310 280
textures, fractals, 5 #1| SD| 80 20 192 100| 460 410 350 310 270| 240 2704 5082 1941| 222 380 138 205 260 297 272
textures, fractals, 20| SD| 320 20 192 400| 578 578 490 392 368| 302 2620 4958 1815| 327 620 207 317 427 483 537
textures, fractals, 20 #1| SD| 320 20 192 400| 592 575 458 392 258| 228 2788 5247 2004| 308 593 238 288 388 497 458
textures, fractals, 100| LD| 1600 20 192 400| 748 675 602 482 420| 308 2681 5050 1874| 442 748 297 443 515 720 882
textures, fractals, 100 #1| LD| 1600 20 192 400| 710 612 560 432 402| 265 2482 4574 1810| 438 712 285 440 508 712 843
textures, glyphs, 5| SD| 80 20 192 100| 360 440 410 340 170| 160 2472 3993 2439| 180 365 185 240 278 290 315
textures, glyphs, 5 #1| SD| 80 20 192 100| 500 430 430 300 240| 200 2560 4211 2448| 217 375 193 228 228 228 228
textures, glyphs, 20| SD| 320 20 192 400| 602 548 485 368 312| 272 2361 3915 2199| 328 513 237 312 373 410 335
textures, glyphs, 20 #1| SD| 320 20 192 400| 600 510 460 388 312| 210 2573 4494 2270| 298 543 208 302 377 472 503
textures, glyphs, 100| LD| 1600 20 192 400| 725 640 568 482 380| 295 2556 4350 2294| 420 723 288 420 485 642 788
textures, glyphs, 100 #1| LD| 1600 20 192 400| 728 605 518 478 408| 260 2286 3726 2183| 412 712 255 433 478 627 802
"""


def _case(line: str) -> Case:
    name, corner, shape, probes, rest, top1 = (cell.strip() for cell in line.split("|"))
    images, classes, features, judged = map(int, shape.split())
    values, known = ([int(value) / 1000 for value in text.split()] for text in (probes, rest))
    tested = {n: int(v) / 1000 for n, v in zip(COST_ORDER, top1.split(), strict=True) if v != "-"}
    stages = {f"stage{6 - len(values) + i}": value for i, value in enumerate(values)}
    optional: dict[str, Any] = dict(zip(("neighbors", "distance", "early", "late"), known, strict=False))
    words = {"S": "small", "L": "large"}[corner[0]], {"S": "similar", "D": "different"}[corner[1]]
    return Case(name, Evidence(images, classes, features, judged, stages, **optional), tested, words)


CASES: list[Case] = [_case(line) for line in _TABLE.strip().splitlines()]
"""The calibration cases, with the test accuracy of each strategy."""
