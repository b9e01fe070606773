"""The keys of the group `augment`: torchvision's transforms of images by name, with their arguments.

Arguments have torchvision's names, and by default torchvision's values.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from transferkit.choices import Interpolation
from transferkit.config.node import Node, Text
from transferkit.errors import TransferkitError

Share = Annotated[float, Field(ge=0, le=1)]
SignedShare = Annotated[float, Field(ge=-1, le=1)]
Vector = Annotated[list[SignedShare], Field(min_length=3, max_length=3)]
Shares = Annotated[list[Share], Field(min_length=2, max_length=2)]
PositiveShares = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)]
Angle = Annotated[float, Field(ge=0, le=360)]
SignedAngle = Annotated[float, Field(ge=-360, le=360)]
Angles = Angle | Annotated[list[SignedAngle], Field(min_length=2, max_length=2)]
Shears = Angle | Annotated[list[SignedAngle], Field(min_length=2, max_length=4)]
Factor = Annotated[float, Field(gt=0, le=100)]
Factors = Annotated[list[Factor], Field(min_length=2, max_length=2)]
Side = Annotated[int, Field(ge=1, le=4096)]
Sides = Side | Annotated[list[Side], Field(min_length=2, max_length=2)]
Padding = Annotated[int, Field(ge=0, le=4096)]
Paddings = Padding | Annotated[list[Padding], Field(min_length=2, max_length=4)]
Gray = Annotated[float, Field(ge=0, le=255)]
Fill = Gray | Annotated[list[Gray], Field(min_length=3, max_length=3)]
Strength = Annotated[float, Field(ge=0, le=100)]
Jitter = Strength | Annotated[list[Strength], Field(min_length=2, max_length=2)]
HueShift = Annotated[float, Field(ge=0, le=0.5)]
SignedHue = Annotated[float, Field(ge=-0.5, le=0.5)]
Hue = HueShift | Annotated[list[SignedHue], Field(min_length=2, max_length=2)]
Width = Annotated[float, Field(gt=0, le=1000)]
Widths = Width | Annotated[list[Width], Field(min_length=2, max_length=2)]
Shift = Annotated[float, Field(ge=0, le=10_000)]
Shifts = Shift | Annotated[list[Shift], Field(min_length=2, max_length=2)]
Bins = Annotated[int, Field(ge=2, le=1000)]


EIGENVALUES = (0.2175, 0.0188, 0.0045)
"""Of the covariance of RGB values from 0 to 1 of ImageNet's training images, as fb.resnet.torch publishes them."""

EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""In columns."""


class PcaColor(Node):
    """pca_color (Krizhevsky et al. 2012, section 4.1): a shift along the principal components of the colours."""

    std: Share = 0.1
    eigenvalues: Annotated[list[Share], Field(min_length=3, max_length=3)] = Field(default=list(EIGENVALUES))
    eigenvectors: Annotated[list[Vector], Field(min_length=3, max_length=3)] = Field(
        default=[list(row) for row in EIGENVECTORS]
    )


class Flip(Node):
    """horizontal_flip, vertical_flip, grayscale, invert: a change that is made with a probability."""

    p: Share = 0.5


class ResizedCrop(Node):
    """random_resized_crop; its size is the network's where none is given."""

    size: Sides | None = None
    scale: PositiveShares = Field(default=[0.08, 1.0])
    ratio: Factors = Field(default=[3 / 4, 4 / 3])
    interpolation: Interpolation = "bilinear"
    antialias: bool = True


class Crop(Node):
    """random_crop; its size is the network's where none is given."""

    size: Sides | None = None
    padding: Paddings | None = None
    pad_if_needed: bool = False
    fill: Fill = 0.0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"


class ShortestSide(Node):
    """shortest_side: the shorter side is resized to a random length, in multiples of the network's input."""

    scale: Factors = Field(default=[8 / 7, 16 / 7])
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise TransferkitError(
                f"augment.transforms.shortest_side.scale={self.scale} must begin with the smaller one."
            )
        return self


class Resize(Node):
    """resize, without regard to the proportions; its size is the network's where none is given."""

    size: Sides | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True


class Rotation(Node):
    """rotation, in degrees."""

    degrees: Angles
    interpolation: Interpolation = "nearest"
    expand: bool = False
    fill: Fill = 0.0


class Affine(Node):
    """affine: rotation in degrees, shift in parts of the side, size, shear in degrees."""

    degrees: Angles
    translate: Shares | None = None
    scale: Factors | None = None
    shear: Shears | None = None
    interpolation: Interpolation = "nearest"
    fill: Fill = 0.0


class Perspective(Node):
    """perspective."""

    distortion_scale: Share = 0.5
    p: Share = 0.5
    interpolation: Interpolation = "bilinear"
    fill: Fill = 0.0


class Elastic(Node):
    """elastic, in pixels."""

    alpha: Shifts = 50.0
    sigma: Widths = 5.0
    interpolation: Interpolation = "bilinear"
    fill: Fill = 0.0


class ColorJitter(Node):
    """color_jitter."""

    brightness: Jitter | None = None
    contrast: Jitter | None = None
    saturation: Jitter | None = None
    hue: Hue | None = None


class Blur(Node):
    """gaussian_blur; the kernel's size in pixels is odd."""

    kernel_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)]
    sigma: Widths = Field(default=[0.1, 2.0])

    @model_validator(mode="after")
    def _odd(self) -> Self:
        sizes = self.kernel_size if isinstance(self.kernel_size, list) else [self.kernel_size]
        if any(size % 2 == 0 or size > 255 for size in sizes):
            raise TransferkitError(
                f"augment.transforms.gaussian_blur.kernel_size={self.kernel_size} must be odd, at most 255."
            )
        return self


class AutoAugment(Node):
    """auto_augment (Cubuk et al. 2019)."""

    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    interpolation: Interpolation = "nearest"


class RandAugment(Node):
    """rand_augment (Cubuk et al. 2020)."""

    num_ops: int = Field(2, ge=0, le=100)
    magnitude: int = Field(9, ge=0, le=1000)
    num_magnitude_bins: Bins = 31
    interpolation: Interpolation = "nearest"

    @model_validator(mode="after")
    def _has_that_magnitude(self) -> Self:
        if self.magnitude >= self.num_magnitude_bins:
            raise TransferkitError(
                f"augment.transforms.rand_augment.magnitude={self.magnitude} must be below num_magnitude_bins "
                f"({self.num_magnitude_bins})."
            )
        return self


class TrivialAugment(Node):
    """trivial_augment (Müller & Hutter 2021)."""

    num_magnitude_bins: Bins = 31
    interpolation: Interpolation = "nearest"


class AugMix(Node):
    """aug_mix (Hendrycks et al. 2020)."""

    severity: int = Field(3, ge=1, le=10)
    mixture_width: int = Field(3, ge=1, le=100)
    chain_depth: int = Field(-1, ge=-1, le=100)
    alpha: float = Field(1.0, gt=0, le=1000)
    all_ops: bool = True
    interpolation: Literal["nearest", "bilinear"] = "bilinear"

    @model_validator(mode="after")
    def _has_a_depth(self) -> Self:
        if self.chain_depth == 0:
            raise TransferkitError(
                "augment.transforms.aug_mix.chain_depth=0 must be -1 (1 to 3 at random), or above 0."
            )
        return self


class RandomErasing(Node):
    """random_erasing (Zhong et al. 2020); `value` is a gray value or a colour, of 255."""

    p: Share = 0.5
    scale: PositiveShares = Field(default=[0.02, 0.33])
    ratio: Factors = Field(default=[0.3, 3.3])
    value: Fill = 124.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise TransferkitError(
                    f"augment.transforms.random_erasing.{name}=[{low}, {high}] is the wrong way round."
                )
        return self


class Transforms(Node):
    """The node `transforms`, applied in the order given; null disables one."""

    random_resized_crop: ResizedCrop | None = None
    shortest_side: ShortestSide | None = None
    resize: Resize | None = None
    random_crop: Crop | None = None
    horizontal_flip: Flip | None = None
    vertical_flip: Flip | None = None
    rotation: Rotation | None = None
    affine: Affine | None = None
    perspective: Perspective | None = None
    elastic: Elastic | None = None
    color_jitter: ColorJitter | None = None
    pca_color: PcaColor | None = None
    grayscale: Flip | None = None
    invert: Flip | None = None
    gaussian_blur: Blur | None = None
    auto_augment: AutoAugment | None = None
    rand_augment: RandAugment | None = None
    trivial_augment: TrivialAugment | None = None
    aug_mix: AugMix | None = None
    random_erasing: RandomErasing | None = None


class Augment(Node):
    """The group `augment`."""

    name: Text = "none"
    heads: bool = True
    views: Literal["auto"] | Annotated[int, Field(ge=1, le=10_000)] | None = None
    transforms: Transforms = Transforms()
