"""Table of torchvision's data sets: their classes, official splits and files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.imageset import ImageSet

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """One data set of torchvision.

    Attributes:
        cls: Class in `torchvision.datasets`.
        splits: Arguments of that class for each official split; "train" alone: the set has none.
        read: Turns an object of it, and the name of the split, into images with its labels.
        present: The path below the root that must exist before torchvision is called.
        wanted: The files, in words, and their source.
        pickled: Whether its files are Python pickles, which are opened only if they are the official ones.
        downloadable: Whether it can still be downloaded.
    """

    cls: str
    splits: Mapping[str, Arguments]
    read: Callable[[Any, str], ImageSet]
    present: str
    wanted: str
    pickled: bool = False
    downloadable: bool = True


def _files(dataset: Any, split: str) -> ImageSet:
    return ImageSet.from_files(dataset._image_files, dataset._labels)


def _pets(dataset: Any, split: str) -> ImageSet:
    return ImageSet.from_files(dataset._images, dataset._labels)


def _samples(dataset: Any, split: str) -> ImageSet:
    samples = dataset.samples if hasattr(dataset, "samples") else dataset._samples
    return ImageSet.from_files([path for path, _ in samples], [int(label) for _, label in samples])


def _caltech(dataset: Any, split: str) -> ImageSet:
    folder = Path(dataset.root, "101_ObjectCategories")
    places = zip(dataset.y, dataset.index, strict=True)
    return ImageSet.from_files([folder / dataset.categories[y] / f"image_{i:04d}.jpg" for y, i in places], dataset.y)


def _arrays(dataset: Any, split: str) -> ImageSet:
    images = np.asarray(dataset.data)
    if images.ndim == 4 and images.shape[1] == 3 and images.shape[3] != 3:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return ImageSet.from_arrays(images, np.asarray(labels), [f"{split}/{i}" for i in range(len(images))])


_TRAIN_TEST = {"train": {"split": "train"}, "test": {"split": "test"}}
_TRAIN_VAL_TEST = {"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}}
_TRAIN_FLAG = {"train": {"train": True}, "test": {"train": False}}
_NO_SPLIT: Mapping[str, Arguments] = {"train": {}}
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"

SETS: dict[str, Source] = {
    "aircraft": Source(
        "FGVCAircraft",
        _TRAIN_VAL_TEST,
        _files,
        "fgvc-aircraft-2013b",
        f"fgvc-aircraft-2013b/ unpacked from fgvc-aircraft-2013b.tar.gz of {_OXFORD}/fgvc-aircraft/archives/",
    ),
    "caltech101": Source(
        "Caltech101",
        _NO_SPLIT,
        _caltech,
        "caltech101/101_ObjectCategories",
        "caltech101/101_ObjectCategories/ unpacked from caltech-101.zip of https://data.caltech.edu/records/mzrjq-6wc02",
    ),
    "cifar10": Source(
        "CIFAR10",
        _TRAIN_FLAG,
        _arrays,
        "cifar-10-batches-py",
        "cifar-10-batches-py/ unpacked from cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html",
        pickled=True,
    ),
    "cifar100": Source(
        "CIFAR100",
        _TRAIN_FLAG,
        _arrays,
        "cifar-100-python",
        "cifar-100-python/ unpacked from cifar-100-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html",
        pickled=True,
    ),
    "country211": Source(
        "Country211",
        {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
        _samples,
        "country211",
        "country211/ unpacked from https://openaipublic.azureedge.net/clip/data/country211.tgz",
    ),
    "dtd": Source(
        "DTD",
        _TRAIN_VAL_TEST,
        _files,
        "dtd/dtd",
        f"dtd/dtd/ (with images/ and labels/) unpacked from {_OXFORD}/dtd/download/dtd-r1.0.1.tar.gz",
    ),
    "eurosat": Source(
        "EuroSAT",
        _NO_SPLIT,
        _samples,
        "eurosat/2750",
        "eurosat/2750/CLASS/ unpacked from EuroSAT.zip of https://huggingface.co/datasets/torchgeo/eurosat",
    ),
    "fashion_mnist": Source(
        "FashionMNIST",
        _TRAIN_FLAG,
        _arrays,
        "FashionMNIST/raw",
        "FashionMNIST/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte of https://github.com/zalandoresearch/fashion-mnist",
    ),
    "flowers": Source(
        "Flowers102",
        _TRAIN_VAL_TEST,
        _files,
        "flowers-102/jpg",
        "flowers-102/ with imagelabels.mat, setid.mat and jpg/ (unpacked from 102flowers.tgz) of "
        f"{_OXFORD}/flowers/102/",
    ),
    "food101": Source(
        "Food101",
        _TRAIN_TEST,
        _files,
        "food-101",
        "food-101/ (with images/ and meta/) unpacked from http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
    ),
    "gtsrb": Source(
        "GTSRB",
        _TRAIN_TEST,
        _samples,
        "gtsrb",
        "gtsrb/ with GTSRB/Training/, GTSRB/Final_Test/Images/ and GT-final_test.csv, unpacked from "
        "GTSRB-Training_fixed.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip of https://benchmark.ini.rub.de/",
    ),
    "mnist": Source(
        "MNIST",
        _TRAIN_FLAG,
        _arrays,
        "MNIST/raw",
        "MNIST/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte of https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "pets": Source(
        "OxfordIIITPet",
        {"train": {"split": "trainval"}, "test": {"split": "test"}},
        _pets,
        "oxford-iiit-pet",
        f"oxford-iiit-pet/ with images/ and annotations/ unpacked from images.tar.gz and annotations.tar.gz of "
        f"{_OXFORD}/pets/",
    ),
    "stanford_cars": Source(
        "StanfordCars",
        _TRAIN_TEST,
        _samples,
        "stanford_cars",
        "stanford_cars/ with devkit/ (cars_train_annos.mat, cars_meta.mat), cars_test_annos_withlabels.mat, "
        "cars_train/ and cars_test/",
        downloadable=False,
    ),
    "stl10": Source(
        "STL10",
        _TRAIN_TEST,
        _arrays,
        "stl10_binary",
        "stl10_binary/ unpacked from http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    ),
    "svhn": Source(
        "SVHN",
        _TRAIN_TEST,
        _arrays,
        "train_32x32.mat",
        "train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers/",
    ),
}
