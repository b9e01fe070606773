"""Classify images with an exported network. It needs onnxruntime, numpy and Pillow, and nothing else.

Command: python predict.py photo.jpg folder/*.png     Result: a line per image: class, probability, file.
Another file than model.onnx beside this script: python predict.py --model model_int8.onnx photo.jpg
"""

import argparse
import json
from collections.abc import Mapping
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


def main() -> None:
    """Print class, probability and path of each image."""
    parser = argparse.ArgumentParser(description="Classify images with an exported network.")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--model", default=str(Path(__file__).with_name("model.onnx")))
    given = parser.parse_args()
    session = onnxruntime.InferenceSession(given.model, providers=onnxruntime.get_available_providers())
    about = session.get_modelmeta().custom_metadata_map
    how, class_names = json.loads(about["preprocessing"]), json.loads(about["class_names"])
    for path in given.images:
        inputs = preprocess(decode(path), how)[None]
        probabilities = session.run(["probabilities"], {"images": inputs})[0][0]
        best = int(probabilities.argmax())
        print(f"{class_names[best]}\t{probabilities[best]:.6f}\t{path}")


if __name__ == "__main__":
    main()
