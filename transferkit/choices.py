"""The lists of valid names that code and configuration share, each defined once.

No torch: the configuration is checked before anything heavy is imported.
"""

from typing import Literal, get_args

STAGES = ("stage1", "stage2", "stage3", "stage4", "stage5", "fc6", "fc7", "head")
"""Every stage name, in order. `stageK` ends at stride 2**K or, in a network of one stride (ViT), after a quarter of its
blocks; `fc6` and `fc7` are the hidden layers of VGG, AlexNet, ZFNet and LeNet-5."""

TOP = "top"
"""A name for the last stage before the head."""

Pool = Literal["auto", "avg", "max", "grid2", "grid3", "grid4", "cls", "cls+avg", "native"]
POOLS: tuple[str, ...] = get_args(Pool)
"""How a map or tokens become a vector.

`avg`, `max`: mean or maximum over all positions (patch tokens only). `gridK`: means over K x K cells. `cls`: the class
token. `cls+avg`: it and the mean of the patch tokens side by side, as in DINOv2's linear evaluation (Oquab et al. 2023,
appendix B.3). `native`: the network's own pooling of its top stage, up to its classifier. `auto`: what the network's
classifier takes; `avg` for maps."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
"""Number formats of the matrix products of a network."""

Metric = Literal["l2", "cosine"]
METRICS: tuple[str, ...] = get_args(Metric)
"""Distances between features, for nearest neighbours."""

NEIGHBORS = (1, 3, 5, 10, 20)
"""Default numbers of nearest neighbours."""

C_COUNT = 45
"""Number of values of C of an exact probe."""

GRADIENT_CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Values of C of the probes trained together by gradient."""

Solver = Literal["exact", "gradient"]
"""Solvers of a linear probe."""

Classifier = Literal["logistic", "discriminant", "ridge"]
"""Linear classifiers, the simplest first."""

Combine = Literal["best", "concat"]
"""How the probes of several stages are combined."""

Selection = Literal["auto", "val", "cv", "last"]
"""How a choice is made: on val, by cross-validation of train and val, `auto`: whichever suits the size of val; `last`:
as `auto`, but finetuning keeps its last epoch."""

Parameters = Literal["all", "norms", "biases_and_norms", "lora"]
PARAMETERS: tuple[str, ...] = get_args(Parameters)
"""The parameters that a phase trains inside its stages; the head is always trained whole."""

InitMethod = Literal["default", "constant", "gaussian", "xavier", "he", "orthogonal", "lsuv", "random_walk"]
INIT_METHODS: tuple[InitMethod, ...] = get_args(InitMethod)
"""How weights that are trained from scratch start; `default`: as the network's own code has it."""

PROBE = "probe"
"""The teacher of a distillation that is the network before it is trained, with the probe's head."""

LoraTarget = Literal["attention", "mlp", "convolutions"]
LORA_TARGETS: tuple[LoraTarget, ...] = get_args(LoraTarget)
"""Kinds of layers that LoRA adapts."""

Source = Literal["embedded", "classic", "torchvision", "timm"]
SOURCES: tuple[str, ...] = get_args(Source)
"""Sources of networks, in the search order of `auto`."""

Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)
"""Interpolations for resizing images."""

WeightType = Literal["float32", "float16"]
"""Number formats of stored weights."""

SHARDS = 32
"""Shards of an entry of the cache, each written by one job at a time: the maximum number of parallel jobs. An entry has
three files per shard at any size. A power of two, at most 256; part of the layout on disk."""

ProblemKind = Literal[
    "duplicate",
    "near_duplicate",
    "label",
    "outlier",
    "tiny",
    "elongated",
    "constant",
    "colour",
    "confused_classes",
    "few_images",
    "imbalance",
]
"""Kinds of problems of a data set that task=check looks for."""

Target = Literal["class", "multilabel", "regression", "ordinal"]
"""Kinds of labels of a table of images: one of several classes, several labels at once, numbers, ordered classes."""

Protocol = Literal["center", "ten_crop", "multi_crop", "dense", "multi_scale", "multi_crop_dense"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
"""Test protocols."""

ExportFormat = Literal["onnx", "torch_export", "state_dict", "openvino", "hub"]
EXPORT_FORMATS: tuple[str, ...] = get_args(ExportFormat)
"""File formats of task=export."""
