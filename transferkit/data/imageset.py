"""Labelled images, in files or in one array, as a map-style data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.arrays import Labels
from transferkit.data.check_files import check_file, content_id
from transferkit.data.image_files import read_file
from transferkit.data.images import UnreadableImage, decode, explain
from transferkit.progress import Advance, map_threads


class _Files:
    in_files = True

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.names = [str(path) for path in paths]
        self.ids: list[str | None] = [None] * len(self.names)

    def content(self, i: int) -> bytes:
        try:
            return read_file(self.names[i])
        except (OSError, ValueError) as error:
            raise UnreadableImage(self.names[i], explain(error)) from error

    def image(self, i: int) -> Image.Image:
        return decode(self.names[i])

    def identified(self, i: int) -> tuple[Image.Image, str]:
        content = self.content(i)
        return decode(content, self.names[i]), content_id(content)

    def check(self, i: int, thorough: bool) -> str | None:
        checked = check_file(self.names[i], thorough)
        self.ids[i] = checked.id or None
        return checked.reason


class _Arrays:
    in_files = False

    def __init__(self, images: NDArray[np.uint8], names: Sequence[str] | None) -> None:
        if (
            images.dtype != np.uint8
            or images.ndim not in (3, 4)
            or (images.ndim == 4 and images.shape[3] not in (1, 3))
        ):
            raise ValueError(
                f"images must be uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3), not {images.dtype} {images.shape}"
            )
        self.images = images if images.ndim == 3 or images.shape[3] == 3 else images[..., 0]
        self.names = list(names) if names is not None else [str(i) for i in range(len(images))]
        self.ids: list[str | None] = [None] * len(self.names)

    def content(self, i: int) -> bytes:
        """The image as a PGM or PPM file, so that shape and channels count in its identity."""
        pixels = self.images[i]
        kind = "P5" if pixels.ndim == 2 else "P6"
        header = f"{kind} {pixels.shape[1]} {pixels.shape[0]} 255\n".encode()
        return header + bytes(pixels.tobytes())

    def image(self, i: int) -> Image.Image:
        return Image.fromarray(self.images[i]).convert("RGB")

    def identified(self, i: int) -> tuple[Image.Image, str]:
        return self.image(i), self.ids[i] or content_id(self.content(i))

    def check(self, i: int, thorough: bool) -> str | None:
        return None


class _Joined:
    """Sets of different origins, one after the other."""

    def __init__(self, *sets: "ImageSet") -> None:
        self._at = [(images, i) for images in sets for i in range(len(images))]
        self.names = [name for images in sets for name in images.names]
        self.ids: list[str | None] = [None] * len(self.names)
        self.in_files = all(images.in_files for images in sets)

    def content(self, i: int) -> bytes:
        images, row = self._at[i]
        return images.content(row)

    def image(self, i: int) -> Image.Image:
        images, row = self._at[i]
        return images.image(row)

    def identified(self, i: int) -> tuple[Image.Image, str]:
        images, row = self._at[i]
        return images.identified(row)

    def check(self, i: int, thorough: bool) -> str | None:
        images, row = self._at[i]
        return next((reason for _, reason in images.subset([row]).unreadable(thorough=thorough)), None)


class ImageSet:
    """Images with labels: a map-style data set of (RGB image, label) for any DataLoader.

    Created by `from_files` or `from_arrays`. Files are read and decoded on access, and not held in memory.

    Attributes:
        labels: Class index of each image (N,); of targets that are no classes (N, T), whole numbers or float32.
        called: In lines about progress: "train", "train and val", "part of test"; empty where it has no name.
    """

    def __init__(self, store: _Files | _Arrays | _Joined, labels: Any, rows: Any = None) -> None:
        self._store = store
        self._rows: NDArray[np.int64] = (
            np.arange(len(store.names)) if rows is None else np.asarray(rows, dtype=np.int64)
        )
        given = np.asarray(labels)
        numbers = given.ndim == 2 and np.issubdtype(given.dtype, np.floating)
        self.labels: Labels = np.asarray(labels, dtype=np.float32 if numbers else np.int64)
        self.called = ""
        if self.labels.shape[:1] != self._rows.shape or self.labels.ndim > 2:
            raise ValueError(f"{len(self._rows)} images but labels of shape {self.labels.shape}")

    @classmethod
    def from_files(cls, paths: Sequence[str | Path], labels: Any) -> "ImageSet":
        """Images in files; nothing is read yet."""
        return cls(_Files(paths), labels)

    @classmethod
    def from_arrays(cls, images: NDArray[np.uint8], labels: Any, names: Sequence[str] | None = None) -> "ImageSet":
        """Images in one uint8 array of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3); names default to the index."""
        return cls(_Arrays(images, names), labels)

    @property
    def names(self) -> list[str]:
        """Path or index of each image."""
        return [self._store.names[i] for i in self._rows]

    @property
    def in_files(self) -> bool:
        """Whether the names are paths."""
        return self._store.in_files

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        label = self.labels[index]
        return self.image(index), int(label) if label.ndim == 0 else label

    def image(self, index: int) -> Image.Image:
        """Decode one image to RGB.

        Raises:
            UnreadableImage: The file cannot be decoded.
        """
        return self._store.image(int(self._rows[index]))

    def identified(self, index: int) -> tuple[Image.Image, str]:
        """Decode one image to RGB, with the identity of the bytes that were decoded.

        That differs from what `ids` gives if the file was replaced meanwhile.

        Raises:
            UnreadableImage: The file cannot be decoded.
        """
        return self._store.identified(int(self._rows[index]))

    def content(self, index: int) -> bytes:
        """The bytes that determine the image: its file, or a PGM/PPM file with its pixels.

        Raises:
            UnreadableImage: The file cannot be read.
        """
        return self._store.content(int(self._rows[index]))

    def ids(self, progress: Advance | None = None) -> list[str]:
        """Identities of the contents, 32 hex digits each; computed on first use, or by `unreadable`.

        Equal contents have equal identities, whatever their path.

        Raises:
            UnreadableImage: A file cannot be read.
        """
        kept, store = self._store.ids, self._store
        missing = [int(i) for i in self._rows if kept[i] is None]
        for i, identity in zip(
            missing, map_threads(lambda i: content_id(store.content(i)), missing, progress), strict=True
        ):
            kept[i] = identity
        return [kept[i] or "" for i in self._rows]

    def unreadable(self, progress: Advance | None = None, thorough: bool = False) -> list[tuple[int, str]]:
        """Check every file, reading each once; return index and reason of the unreadable ones.

        The quick check can miss damage in the middle of a file; the `thorough` one decodes every image.
        """
        reasons = map_threads(lambda i: self._store.check(i, thorough), [int(i) for i in self._rows], progress)
        return [(index, reason) for index, reason in enumerate(reasons) if reason is not None]

    def subset(self, indices: Any) -> "ImageSet":
        """The images at these positions, in this order; shares files, pixels and identities with this set."""
        indices = np.asarray(indices, dtype=np.int64)
        part = ImageSet(self._store, self.labels[indices], self._rows[indices])
        whole = len(part) == len(self) or not self.called or self.is_part
        return part.call(self.called if whole else f"part of {self.called}")

    @property
    def is_part(self) -> bool:
        """Whether these are some of the images of a split."""
        return self.called.startswith("part of ")

    def joined(self, *others: "ImageSet") -> "ImageSet":
        """The images of this set, then those of others, of any origin; shares files and pixels with all."""
        sets = [self, *others]
        labels = np.concatenate([one.labels for one in sets])
        if all(one._store is self._store for one in others):
            joined = ImageSet(self._store, labels, np.concatenate([one._rows for one in sets]))
        else:
            joined = ImageSet(_Joined(*sets), labels)
        names = [one.called for one in sets]
        return joined.call(" and ".join(names) if all(names) else "")

    def call(self, name: str) -> "ImageSet":
        """Give the set a name for lines about progress, and return it."""
        self.called = name
        return self

    def relabel(self, labels: Any) -> "ImageSet":
        """The same images with other labels, (N,) or (N, T)."""
        return ImageSet(self._store, labels, self._rows).call(self.called)
