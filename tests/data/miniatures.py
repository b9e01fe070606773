"""Miniatures of torchvision's data sets, each in the layout that torchvision itself reads."""

import csv
import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

PER_CLASS = 5


def write_image(path: Path, seed: int, size: int = 12) -> None:
    """A noisy image that differs by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, size, size, 3)).save(path)


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def flowers(root: Path) -> None:
    base = root / "flowers-102"
    for i in range(1, 41):
        write_image(base / f"jpg/image_{i:05d}.jpg", i)
    savemat(base / "imagelabels.mat", {"labels": np.array([[(1, 2, 77, 102)[i % 4] for i in range(40)]])})
    ids = np.random.default_rng(0).permutation(np.arange(1, 41))
    savemat(base / "setid.mat", {"trnid": [np.sort(ids[:20])], "valid": [np.sort(ids[20:30])], "tstid": [ids[30:]]})


def pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    for label, name in ((1, "Abyssinian"), (2, "american_bulldog"), (37, "yorkshire_terrier")):
        for i in range(10):
            write_image(base / f"images/{name}_{i}.jpg", 100 * label + i)
            lines["test" if i > 6 else "trainval"].append(f"{name}_{i} {label} 1 1")
    for split, rows in lines.items():
        write_lines(base / f"annotations/{split}.txt", rows[::-1])


def _cifar(base: Path, files: dict[str, int], key: str, meta: dict[str, list[str]], meta_file: str) -> None:
    base.mkdir(parents=True)
    for seed, (name, count) in enumerate(files.items()):
        classes = len(next(iter(meta.values())))
        labels = [(i + seed) % classes for i in range(count)]
        (base / name).write_bytes(pickle.dumps({"data": noise(seed, count, 3072), key: labels}))
    (base / meta_file).write_bytes(pickle.dumps(meta))


def cifar10(root: Path) -> None:
    files = {**{f"data_batch_{i}": 10 for i in range(1, 6)}, "test_batch": 20}
    names = {"label_names": [f"thing {i}" for i in range(10)]}
    _cifar(root / "cifar-10-batches-py", files, "labels", names, "batches.meta")


def cifar100(root: Path) -> None:
    names = {"fine_label_names": [f"thing {i}" for i in range(100)]}
    _cifar(root / "cifar-100-python", {"train": 300, "test": 100}, "fine_labels", names, "meta")


def stl10(root: Path) -> None:
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    for seed, split in enumerate(("train", "test")):
        noise(seed, 20, 3, 96, 96).tofile(base / f"{split}_X.bin")
        (np.arange(20, dtype=np.uint8) % 10 + 1).tofile(base / f"{split}_y.bin")
    noise(2, 1, 3, 96, 96).tofile(base / "unlabeled_X.bin")
    write_lines(base / "class_names.txt", [f"thing {i}" for i in range(10)])


def food101(root: Path) -> None:
    base = root / "food-101"
    for split, numbers in (("train", range(6)), ("test", range(6, 8))):
        meta = {name: [f"{name}/{i}" for i in numbers] for name in ("waffles", "apple_pie")}
        for seed, place in enumerate(place for places in meta.values() for place in places):
            write_image(base / f"images/{place}.jpg", seed)
        write_lines(base / f"meta/{split}.json", [json.dumps(meta)])


def dtd(root: Path) -> None:
    base = root / "dtd/dtd"
    for split in ("train", "val", "test"):
        places = [f"{name}/{name}_{split}_{i}.jpg" for i in range(PER_CLASS) for name in ("zigzagged", "banded")]
        for seed, place in enumerate(places):
            write_image(base / "images" / place, seed)
        write_lines(base / f"labels/{split}1.txt", places)


def eurosat(root: Path) -> None:
    for seed in range(20):
        name = ("River", "Forest")[seed % 2]
        write_image(root / f"eurosat/2750/{name}/{name}_{seed}.jpg", seed)


def caltech101(root: Path) -> None:
    for name in ("BACKGROUND_Google", "Faces", "accordion"):
        for i in range(1, 11):
            write_image(root / f"caltech101/101_ObjectCategories/{name}/image_{i:04d}.jpg", i + len(name))


def aircraft(root: Path) -> None:
    base = root / "fgvc-aircraft-2013b/data"
    write_lines(base / "variants.txt", ["707-320", "A330 200", "Spitfire"])
    for start, split in ((0, "train"), (100, "val"), (200, "test")):
        rows = [f"{start + i:07d} {('A330 200', '707-320', 'Spitfire')[i % 3]}" for i in range(9)]
        for row in rows:
            write_image(base / f"images/{row[:7]}.jpg", int(row[:7]))
        write_lines(base / f"images_variant_{split}.txt", rows)


def stanford_cars(root: Path) -> None:
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    names = np.array([["Acura RL", "BMW M3", "Fiat 500"]], dtype=object)
    savemat(base / "devkit/cars_meta.mat", {"class_names": names})
    for split, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = np.zeros((1, 12), dtype=[("class", "O"), ("fname", "O")])
        for i in range(12):
            rows[0, i] = (i % 3 + 1, f"{i:05d}.jpg")
            write_image(base / f"cars_{split}/{i:05d}.jpg", i + len(split))
        savemat(base / file, {"annotations": rows})


def svhn(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(("train", "test")):
        labels = np.arange(30)[:, None] % 10 + 1  # 10 stands for the digit 0
        savemat(root / f"{split}_32x32.mat", {"X": noise(seed, 32, 32, 3, 30), "y": labels.astype(np.uint8)})


def _mnist(base: Path) -> None:
    base.mkdir(parents=True)
    for seed, split in enumerate(("train", "t10k")):
        labels = np.arange(40, dtype=np.uint8) % 10
        images = noise(seed, 40, 28, 28)
        for kind, header, values in (
            ("images-idx3", [2051, 40, 28, 28], images),
            ("labels-idx1", [2049, 40], labels),
        ):
            content = np.array(header, dtype=">i4").tobytes() + values.tobytes()
            (base / f"{split}-{kind}-ubyte").write_bytes(content)
            (base / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))


def mnist(root: Path) -> None:
    _mnist(root / "MNIST/raw")


def fashion_mnist(root: Path) -> None:
    _mnist(root / "FashionMNIST/raw")


def gtsrb(root: Path) -> None:
    base = root / "gtsrb"
    for seed in range(30):
        write_image(base / f"GTSRB/Training/{seed % 3:05d}/{seed:05d}.ppm", seed)
    rows = [{"Filename": f"{i:05d}.ppm", "ClassId": f"{i % 3}"} for i in range(9)]
    for seed, row in enumerate(rows, start=100):
        write_image(base / "GTSRB/Final_Test/Images" / row["Filename"], seed)
    with (base / "GT-final_test.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["Filename", "ClassId"], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def country211(root: Path) -> None:
    for split in ("train", "valid", "test"):
        for seed in range(12):
            write_image(root / f"country211/{split}/{('DE', 'AD', 'ZW')[seed % 3]}/{split}{seed}.jpg", seed)


BUILDERS: dict[str, Callable[[Path], None]] = {
    builder.__name__: builder
    for builder in (
        *(aircraft, caltech101, cifar10, cifar100, country211, dtd, eurosat, fashion_mnist, flowers, food101),
        *(gtsrb, mnist, pets, stanford_cars, stl10, svhn),
    )
}
