"""The names that can be chosen where code and configuration must agree on them: each list stands here, and only here.

No torch: the configuration is checked before anything heavy is imported.
"""

from typing import Literal, get_args

STAGES = ("stage1", "stage2", "stage3", "stage4", "stage5", "fc6", "fc7", "head")
"""Every stage name, in order. `stageK` ends at stride 2**K; `fc6` and `fc7` are VGG's and AlexNet's hidden layers."""

TOP = "top"
"""In place of a stage's name: the last one before the head."""

Pool = Literal["avg", "max", "grid2", "grid3", "grid4"]
POOLS: tuple[str, ...] = get_args(Pool)
"""How a map becomes a vector: mean or maximum over all positions, or means over a grid of 2 x 2 to 4 x 4 cells."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
"""Number formats of the products of a network."""

Metric = Literal["l2", "cosine"]
METRICS: tuple[str, ...] = get_args(Metric)
"""Distances between features, for nearest neighbours."""

NEIGHBORS = (1, 3, 5, 10, 20)
"""Numbers of nearest neighbours that are tried."""

C_COUNT = 45
"""Values of C that an exact probe tries."""

GRADIENT_CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Values of C whose probes are trained together by gradient."""

Solver = Literal["exact", "gradient"]
SOLVERS: tuple[str, ...] = get_args(Solver)
"""How a linear probe is fitted."""

Combine = Literal["best", "concat"]
COMBINE: tuple[str, ...] = get_args(Combine)
"""What becomes of the probes of several stages."""

Source = Literal["embedded", "torchvision", "timm"]
SOURCES: tuple[str, ...] = get_args(Source)
"""Where networks come from, in the order in which `auto` looks."""

Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)
"""How images are resized."""

WeightType = Literal["float32", "float16"]
WEIGHT_TYPES: tuple[str, ...] = get_args(WeightType)
"""Number formats that weights are stored in."""

Protocol = Literal["center"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
"""How test images are looked at."""
