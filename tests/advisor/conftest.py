"""Small data and embedded networks that the tests of the advisor share."""

import pytest

import transferkit as tk
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData


def embedded(name: str) -> Backbone:
    return tk.create_backbone("narrow_resnet10", weights=name, source="embedded", input_size=32, mean=0.5, std=0.25)


@pytest.fixture(scope="session")
def letters_network() -> Backbone:
    return embedded("resnet_glyphs")


@pytest.fixture(scope="session")
def digits() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 12, "max_test": 50}, seed=0)
