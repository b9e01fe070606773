"""Scale of features for linear classifiers, which does not trust the deviations of a handful of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import FLOAT_DTYPES, check_is_fitted, validate_data

from transferkit.arrays import Doubles
from transferkit.errors import TransferkitError

SHRINKAGE = 50.0
"""Number of images at which a feature's own variance and the mean variance of all weigh the same."""


def scalers_to_try(widths: Sequence[int], balance: bool | str) -> "list[ShrunkScaler]":
    """Return the scales to choose among for features of several stages, side by side.

    Args:
        widths: Numbers of features of the stages.
        balance: As `ShrunkScaler` has it, or "auto" for both; a single stage has nothing to balance.
    """
    tried = [False] if len(widths) == 1 else [False, True] if balance == "auto" else [bool(balance)]
    return [ShrunkScaler(widths=widths, balance=one) for one in tried]


class ShrunkScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Subtract the mean, and divide by a deviation that is shrunk towards that of all features.

    scale^2 = w var + (1 - w) mean(var), w = n / (n + shrinkage), for the variances of n rows. With a handful of rows
    the variance of a single feature is mostly chance; with thousands this is scikit-learn's `StandardScaler`.

    Args:
        shrinkage: In rows; 0 is `StandardScaler`.
        widths: Numbers of features of the blocks that lie side by side, such as the stages of a network; each has a
            mean variance of its own. By default all features are one block.
        balance: Whether to scale all blocks to the same total variance (the scale of an average block stays), so that
            wide ones do not outweigh the others.

    Attributes:
        mean_: (D,).
        var_: (D,), with the number of rows as divisor.
        scale_: (D,).
        n_samples_seen_: n.
        n_features_in_: D.
    """

    def __init__(
        self, shrinkage: float = SHRINKAGE, widths: Sequence[int] | None = None, balance: bool = False
    ) -> None:
        self.shrinkage = shrinkage
        self.widths = widths
        self.balance = balance

    def fit(self, X: Any, y: Any = None) -> "ShrunkScaler":
        """Compute mean and scale of rows (N, D)."""
        return self.fit_blocks([validate_data(self, X, dtype=FLOAT_DTYPES)])

    def fit_blocks(self, blocks: Any) -> "ShrunkScaler":
        """Compute mean and scale of rows that come in blocks (n, D), as finite floating-point numbers.

        Raises:
            TransferkitError: `widths` do not add up to D, or `shrinkage` is negative.
        """
        moments = StandardScaler()
        for block in blocks:
            moments.partial_fit(np.asarray(block, dtype=np.float64))
        self.mean_: Doubles = moments.mean_
        self.var_: Doubles = moments.var_
        self.n_samples_seen_ = int(moments.n_samples_seen_)
        self.n_features_in_ = len(self.mean_)
        widths = [self.n_features_in_] if self.widths is None else list(self.widths)
        if sum(widths) != self.n_features_in_ or self.shrinkage < 0:
            raise TransferkitError(
                f"ShrunkScaler: widths={widths} must add up to the {self.n_features_in_} features, and "
                f"shrinkage={self.shrinkage} must be at least 0."
            )
        # StandardScaler divides features that are constant up to rounding by 1.
        own = np.where((moments.scale_ == 1) & (self.var_ < 1e-9), 0.0, self.var_)
        self.scale_ = shrunk_scale(own, self.n_samples_seen_, self.shrinkage, widths)
        if self.balance:
            self.scale_ *= _balancing(own / self.scale_**2, widths)
        return self

    def transform(self, X: Any) -> npt.NDArray[Any]:
        """Rows (N, D), centred and scaled."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOAT_DTYPES, reset=False)
        return np.asarray((X - self.mean_.astype(X.dtype)) / self.scale_.astype(X.dtype))

    def inverse_transform(self, X: Any) -> npt.NDArray[Any]:
        """The rows (N, D) that `transform` makes into these."""
        check_is_fitted(self)
        X = np.asarray(X)
        return np.asarray(X * self.scale_.astype(X.dtype) + self.mean_.astype(X.dtype))


def shrunk_scale(var: Doubles, n: int, shrinkage: float, widths: Sequence[int]) -> Doubles:
    """The divisors (D,) for variances (D,) of n rows; 1 where all features of a block are constant."""
    weight = n / (n + shrinkage)
    ends = np.cumsum(widths)
    means = np.concatenate([np.full(w, var[end - w : end].mean()) for w, end in zip(widths, ends, strict=True)])
    scale: Doubles = np.sqrt(weight * var + (1 - weight) * means)
    return np.where(scale > 0, scale, 1.0)


def _balancing(scaled: Doubles, widths: Sequence[int]) -> Doubles:
    """Factors (D,) for the scale, from scaled variances (D,): blocks get equal total variances."""
    ends = np.cumsum(widths)
    totals = np.array([scaled[end - width : end].sum() for width, end in zip(widths, ends, strict=True)])
    factors = np.where(totals > 0, np.sqrt(totals / max(totals.mean(), 1e-300)), 1.0)
    return np.repeat(factors, widths)
