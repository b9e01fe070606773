"""Preprocessing of a decoded image to the input tensor of a backbone, as its weights define it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from transferkit.config.backbone_keys import Inputs, Resize
from transferkit.config.schema import check_node
from transferkit.errors import TransferkitError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LONGEST_RATIO = 32
INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode}


@dataclass(frozen=True)
class Preprocessing:
    """Resize, center crop, scale to [0, 1], normalise.

    With `crop_mode` "center" the image keeps its aspect ratio and is resized until it just covers `resize_size`; with
    "squash" it is resized to exactly that. The defaults are the usual ones of ImageNet networks (Krizhevsky 2012,
    section 2: shorter side to 256, center crop).

    Attributes:
        input_size: Height and width of the crop, in pixels.
        resize_size: Height and width to resize to before the crop, in pixels.
        interpolation: "nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming" or "lanczos".
        mean: Per RGB channel, of values in [0, 1].
        std: Per RGB channel, of values in [0, 1].
        crop_pct: `input_size` / `resize_size`, kept when `input_size` is overridden.
        crop_mode: "center" or "squash".
    """

    input_size: tuple[int, int] = (224, 224)
    resize_size: tuple[int, int] = (256, 256)
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_pct: float = 0.875
    crop_mode: str = "center"

    def __call__(self, image: Image.Image) -> Tensor:
        """The image as a float32 tensor (3, H, W) with (H, W) = `input_size`. Other modes are converted to RGB."""
        return self.normalize(self.pixels(image))

    def pixels(self, image: Image.Image) -> Tensor:
        """The resized and cropped image as uint8 (3, H, W): a quarter of the bytes; see `normalize`."""
        tensor: Tensor = functional.pil_to_tensor(functional.center_crop(self.resized(image), list(self.input_size)))
        return tensor

    def resized(self, image: Image.Image) -> Image.Image:
        """The RGB image resized, before the crop; of extremely long images the middle."""
        if self.crop_mode == "center":
            image = _without_far_ends(image)
        image = image if image.mode == "RGB" else image.convert("RGB")
        covering: Image.Image = functional.resize(image, self._target(image), INTERPOLATIONS[self.interpolation])
        return covering

    def finish(self, inputs: Tensor) -> Tensor:
        """The network's input: uint8 (..., 3, H, W) is normalised, preprocessed tensors are returned unchanged."""
        return self.normalize(inputs) if inputs.dtype == torch.uint8 else inputs

    def normalize(self, pixels: Tensor) -> Tensor:
        """Scale uint8 (..., 3, H, W) to [0, 1] and normalise; float32."""
        mean, std = self._mean_and_std(pixels.device)
        # One multiplication and one addition per value, (x / 255 - mean) / std: half the time of two steps.
        return pixels.float().mul_(1 / (255 * std)).sub_(mean / std)

    def denormalize(self, inputs: Tensor) -> Tensor:
        """The inverse of `normalize`: float32 pixels (..., 3, H, W) from 0 to 255, not rounded."""
        mean, std = self._mean_and_std(inputs.device)
        return (inputs.float() * std + mean) * 255

    def _mean_and_std(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (self.mean, self.std))
        return mean, std

    def _target(self, image: Image.Image) -> list[int]:
        height, width = self.resize_size
        if self.crop_mode == "squash":
            return [height, width]
        if height == width:  # one number: the shorter side, the longer one rounded as torchvision does
            return [height]
        ratio = min(image.height / height, image.width / width)
        return [round(image.height / ratio), round(image.width / ratio)]

    def override(
        self,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        input_size: int | Sequence[int] | None = None,
        interpolation: str | None = None,
        crop_pct: float | None = None,
    ) -> "Preprocessing":
        """A copy with some values overridden.

        Args:
            mean: One number for all channels, or three.
            std: One number for all channels, or three.
            input_size: One side of a square crop, or height and width, in pixels; the resize keeps its proportion.
            interpolation: A key of `INTERPOLATIONS`.
            crop_pct: Side of the crop as a fraction of the resized image, in (0, 1].

        Raises:
            TransferkitError: If a value cannot be used; the message names the key as `backbone.<key>`.
        """
        given: dict[str, Any] = {"mean": mean, "std": std, "input_size": input_size}
        given |= {"interpolation": interpolation, "crop_pct": crop_pct}
        values = check_node(Inputs, given, "backbone")
        changes: dict[str, Any] = {key: _channels(values[key]) for key in ("mean", "std") if values[key] is not None}
        if interpolation is not None:
            changes["interpolation"] = interpolation
        if input_size is not None or crop_pct is not None:
            size = self.input_size if input_size is None else _size(input_size)
            share = self.crop_pct if crop_pct is None else float(crop_pct)
            changes |= {"input_size": size, "crop_pct": share, "resize_size": resize_for(size, share)}
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Return the preprocessing that `to_dict` described.

        Raises:
            TransferkitError: If a key is missing or unknown, or a value cannot be used.
        """
        if set(values) != set(_FIELDS):
            raise TransferkitError(f"preprocessing: must have the keys {', '.join(_FIELDS)}, not {', '.join(values)}.")
        chosen = {name: values[name] for name in ("mean", "std", "input_size", "interpolation", "crop_pct")}
        size = check_node(Resize, {"resize_size": values["resize_size"]}, "preprocessing")["resize_size"]
        mode = str(values["crop_mode"])
        return dataclasses.replace(cls().override(**chosen), resize_size=_size(size), crop_mode=mode)


_FIELDS = tuple(field.name for field in dataclasses.fields(Preprocessing))


def _without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of an extremely long image, since a center crop uses nothing else.

    Resizing a whole strip of 1 x 100,000 pixels would take 20 GB.
    """
    longest = _LONGEST_RATIO * min(image.size)
    if max(image.size) <= longest:
        return image
    middle: Image.Image = functional.center_crop(image, [min(image.height, longest), min(image.width, longest)])
    return middle


def resize_for(input_size: tuple[int, int], crop_pct: float) -> tuple[int, int]:
    """The size to resize to so that a crop of `input_size` is `crop_pct` of each side, rounded down as in timm."""
    # The margin undoes the rounding error of crop_pct = a / b, which may put a / crop_pct just below b.
    height, width = (math.floor(side / crop_pct + 1e-6) for side in input_size)
    return height, width


def _channels(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),) * 3


def _size(value: int | Sequence[int]) -> tuple[int, int]:
    height, width = value if isinstance(value, Sequence) else (value, value)
    return height, width
