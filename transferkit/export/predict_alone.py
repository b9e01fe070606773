"""Predict images with an exported network. It needs onnxruntime, numpy and Pillow, and nothing else.

Command: python predict.py photo.jpg folder/*.png     Result: a line per image: class, probability, file;
of several labels those with probability 0.5 or more, of numbers each by its name.
Another file than model.onnx beside this script: python predict.py --model model_int8.onnx photo.jpg
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def decode(path: str) -> Image.Image:
    """Return the image upright, on white where it is transparent, in RGB."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16-bit gray
        wide = np.asarray(image).clip(0, 65535).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def preprocess(image: Image.Image, how: Mapping[str, Any]) -> np.ndarray:
    """Return the network's input (3, H, W): resized, cropped in the centre, normalised."""
    (crop_height, crop_width), (height, width) = how["input_size"], how["resize_size"]
    if how["crop_mode"] == "center":  # the image just covers the size, and keeps its proportions
        if height == width:
            short, long = min(image.size), max(image.size)
            sides = (height, int(height * long / short))
            width, height = sides if image.width <= image.height else sides[::-1]
        else:
            ratio = min(image.height / height, image.width / width)
            width, height = round(image.width / ratio), round(image.height / ratio)
    method = how["interpolation"].removesuffix("-exact").upper()
    image = image.resize((width, height), Image.Resampling[method])
    left, top = round((width - crop_width) / 2), round((height - crop_height) / 2)
    pixels = np.asarray(image.crop((left, top, left + crop_width, top + crop_height)), dtype=np.float32)
    mean, std = (np.array(how[name], dtype=np.float32) for name in ("mean", "std"))
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)


def answer(outputs: np.ndarray, names: Sequence[str], target: str) -> str:
    """Return the prediction for one image from the network's outputs (K,), tabs between its parts."""
    if target == "regression":
        return "\t".join(f"{name}={value:.6g}" for name, value in zip(names, outputs, strict=True))
    if target == "multilabel":
        return ";".join(name for name, value in zip(names, outputs, strict=True) if value >= 0.5) or "(none)"
    # Of ordered classes the median, which has the smallest expected error in classes.
    best = int((outputs.cumsum()[:-1] < 0.5).sum() if target == "ordinal" else outputs.argmax())
    return f"{names[best]}\t{outputs[best]:.6f}"


def main() -> None:
    """Print prediction and path of each image."""
    parser = argparse.ArgumentParser(description="Predict images with an exported network.")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--model", default=str(Path(__file__).with_name("model.onnx")))
    given = parser.parse_args()
    session = onnxruntime.InferenceSession(given.model, providers=onnxruntime.get_available_providers())
    about = session.get_modelmeta().custom_metadata_map
    how, names, target = (json.loads(about[name]) for name in ("preprocessing", "class_names", "target"))
    for path in given.images:
        inputs = preprocess(decode(path), how)[None]
        outputs = session.run(None, {"images": inputs})[0][0]
        print(f"{answer(outputs, names, target)}\t{path}")


if __name__ == "__main__":
    main()
