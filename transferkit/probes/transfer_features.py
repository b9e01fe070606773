"""A pretrained network as a scikit-learn transformer: from images to pooled features."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.features.extract import extract_features, join_stages
from transferkit.features.store import FeatureCache
from transferkit.probes.image_rows import (
    image_shape_of,
    images_of_array,
    images_of_list,
    is_list_of_images,
    value_range,
)


class TransferFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Pooled features of a frozen pretrained network, for scikit-learn's pipelines.

    `X` is a list (or a column of a table) of paths or PIL images; an array of images (N, H, W) or (N, H, W, 3); or a
    table (N, D) whose rows are the pixels of an image each, as scikit-learn's own image data has them.

    Nothing is trained: `fit` remembers the form of the images, and which numbers are black and white. Features are
    cached as in `extract_features`, so that a grid search computes each image once.

    Args:
        backbone: A network's name, or a `Backbone` (`create_backbone`, `load_model(run).backbone`).
        weights: Of a network that is named, as in `create_backbone`.
        stages: Names or patterns of stages, whose features stand side by side; by default the last before the head.
        pool: As in `extract_features`.
        image_shape: (H, W) or (H, W, 3) of the image in a row of pixels. By default rows of s * s values are square
            gray images, rows of 3 * s * s square colour images (channels last); others fill the smallest square that
            holds them.
        pixel_range: The numbers that are black and white. "auto": 0 and 255 for uint8, else the smallest and the
            largest number seen by `fit`.
        cache: As in `extract_features`.

    Attributes:
        n_features_in_: Values per image; absent for lists of images.
        image_shape_: Shape of an image; None for lists of images.
        pixel_range_: Black and white; None for lists of images.
        n_features_out_: D.

    Raises:
        TransferkitError: (from `fit`) An unknown network, stage or pooling, or an `image_shape` that does not fit.
        ValueError: (from `fit` and `transform`, by scikit-learn) NaN, infinity, no images, or others than in `fit`.
    """

    def __init__(
        self,
        backbone: str | Backbone = "resnet50",
        weights: str | Path | None = "imagenet",
        stages: Sequence[str] | None = None,
        pool: str = "auto",
        image_shape: Sequence[int] | None = None,
        pixel_range: Literal["auto"] | tuple[float, float] = "auto",
        cache: FeatureCache | Literal["default"] | None = "default",
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.stages = stages
        self.pool = pool
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> "TransferFeatures":
        """Remember the form of the images; see the class.

        Args:
            X: N images.
            y: Ignored.
        """
        self.image_shape_: tuple[int, ...] | None = None
        self.pixel_range_: tuple[float, float] | None = None
        if not is_list_of_images(X):
            pixels = _pixels(self, X, reset=True)
            rows = pixels.ndim == 2
            self.image_shape_ = image_shape_of(pixels.shape[1], self.image_shape) if rows else pixels.shape[1:]
            self.pixel_range_ = value_range(pixels, self.pixel_range)
        network, stages = self._network()
        self.n_features_out_ = sum(network.width(stage, self.pool) for stage in stages)
        return self

    def transform(self, X: Any) -> Features:
        """Return the features (N, D), float32, of N images of the form that `fit` saw."""
        check_is_fitted(self)
        network, stages = self._network()
        features = extract_features(network, self._images(X), stages, pool=self.pool, cache=self.cache, progress=False)
        return join_stages(features, stages)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # features are float32
        return tags

    def _images(self, X: Any) -> ImageSet:
        if is_list_of_images(X):
            if self.image_shape_ is not None:
                raise TransferkitError("X is a list of images, but fit saw an array of pixels.")
            return images_of_list(X)
        if self.image_shape_ is None or self.pixel_range_ is None:
            raise TransferkitError("X is no list of paths or images, as fit saw one.")
        return images_of_array(_pixels(self, X, reset=False), self.image_shape_, self.pixel_range_)

    def _network(self) -> tuple[Backbone, list[str]]:
        """The network and the stages whose features are wanted."""
        named = isinstance(self.backbone, str)
        network = _created(self.backbone, self.weights) if named else self.backbone
        assert isinstance(network, Backbone)
        stages = [network.top] if self.stages is None else network.match(self.stages, "stages")
        if not stages:
            raise TransferkitError(f"stages={self.stages} matches none of {', '.join(network.feature_stages)}.")
        return network, stages

    @property
    def _n_features_out(self) -> int:
        """The name that scikit-learn's `get_feature_names_out` looks for."""
        return self.n_features_out_


def _pixels(features: TransferFeatures, X: Any, reset: bool) -> npt.NDArray[Any]:
    """Numbers (N, D), (N, H, W) or (N, H, W, C), validated as scikit-learn does."""
    dtype = [np.float64, np.float32, np.uint8]  # the first is what lists become
    found: npt.NDArray[Any] = validate_data(features, X, dtype=dtype, allow_nd=True, reset=reset)
    if not reset and found.ndim > 2 and found.shape[1:] != features.image_shape_:
        raise TransferkitError(f"X has images of shape {found.shape[1:]}, but fit saw {features.image_shape_}.")
    return found


@lru_cache(maxsize=2)
def _created(name: str | Backbone, weights: str | Path | None) -> Backbone:
    """The network, kept for the many clones that a grid search makes."""
    assert isinstance(name, str)
    return create_backbone(name, weights)
