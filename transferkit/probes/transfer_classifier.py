"""A pretrained network with a classifier on its features, as a scikit-learn classifier."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from transferkit.backbones.backbone import Backbone
from transferkit.probes.linear import LinearProbe
from transferkit.probes.transfer_features import TransferFeatures


def _has(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Whether the classifier on the features has a method of this name."""
    found: Callable[[Callable[..., Any]], Any] = available_if(
        lambda classifier: hasattr(classifier._classifier(), name)
    )
    return found


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of images: `TransferFeatures`, and on them a `LinearProbe` or another classifier.

    `X` may be whatever `TransferFeatures` takes: a list of paths or PIL images, an array of images, rows of pixels.

    Args:
        backbone: As in `TransferFeatures`, like the arguments after it.
        weights: Of a network that is named.
        stages: Whose features.
        pool: How they become vectors.
        image_shape: Of the image in a row of pixels.
        pixel_range: Black and white.
        classifier: A classifier of scikit-learn, which is cloned; by default `LinearProbe()`.

    Attributes:
        classes_: (K,) labels, sorted.
        features_: The fitted `TransferFeatures`.
        classifier_: The fitted classifier.
        n_features_in_: Values per image; absent for lists of images.

    Raises:
        TransferkitError: (from `fit`) As `TransferFeatures`, and as the classifier does.
        ValueError: (by scikit-learn) NaN, infinity, no images, or labels that are no classes.
    """

    def __init__(
        self,
        backbone: str | Backbone = "resnet50",
        weights: str | Path | None = "imagenet",
        stages: Sequence[str] | None = None,
        pool: str = "auto",
        image_shape: Sequence[int] | None = None,
        pixel_range: Literal["auto"] | tuple[float, float] = "auto",
        classifier: Any = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.stages = stages
        self.pool = pool
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.classifier = classifier

    def fit(self, X: Any, y: Any) -> "TransferClassifier":
        """Compute the features of N images and fit the classifier to them.

        Args:
            X: N images.
            y: (N,) labels of any kind that sorts.
        """
        if y is None:
            raise ValueError("This TransferClassifier estimator requires y to be passed, but the target y is None.")
        features = TransferFeatures(
            self.backbone, self.weights, self.stages, self.pool, self.image_shape, self.pixel_range
        )
        features.fit(X)
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        check_classification_targets(y)
        self.features_ = features
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(features, name):
                setattr(self, name, getattr(features, name))
        self.classifier_ = clone(self._classifier()).fit(features.transform(X), y)
        self.classes_ = self.classifier_.classes_
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the most probable label (N,) of each image."""
        found: npt.NDArray[Any] = self._fitted().predict(self.features_.transform(X))
        return found

    @_has("predict_proba")
    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Return class probabilities (N, K); only where the classifier has them."""
        found: npt.NDArray[Any] = self._fitted().predict_proba(self.features_.transform(X))
        return found

    @_has("decision_function")
    def decision_function(self, X: Any) -> npt.NDArray[Any]:
        """Return logits (N, K), of two classes (N,); only where the classifier has them."""
        found: npt.NDArray[Any] = self._fitted().decision_function(self.features_.transform(X))
        return found

    def _fitted(self) -> Any:
        check_is_fitted(self)
        return self.classifier_

    def _classifier(self) -> Any:
        return LinearProbe() if self.classifier is None else self.classifier
