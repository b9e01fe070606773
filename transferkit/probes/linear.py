"""Linear probe: multinomial logistic regression on frozen features, with C selected on validation rows."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, validate_data

from transferkit.arrays import Doubles
from transferkit.errors import TransferkitError
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.logistic.effort import threads
from transferkit.probes.logistic.rows import Ints
from transferkit.probes.logistic.selected_fit import Fit, Labelled, Solver, fit_rows, select_C
from transferkit.probes.scaling import ShrunkScaler

log = logging.getLogger(__name__)

C_RANGE = (-6.0, 5.0)
"""Decimal exponents of the smallest and the largest C when only their number is given."""


class LinearProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression with C selected on validation rows by top-1 accuracy, then refitted (`refit`) on all rows.

    The values of C are tried from the smallest to the largest, each starting from the previous solutions; ties are
    broken by the lower negative log-likelihood, then the smaller C. The objective is that of scikit-learn's
    `LogisticRegression` (L2 penalty, the sum of the losses weighted by C). L-BFGS minimises it along the principal
    directions of the rows, computed once for all values of C, scaled per direction (`transferkit.probes.logistic`).

    Features may be memory-mapped: they are read in blocks, and neither copied nor changed. Additional memory is a
    square matrix over rows or features, whichever are fewer, and at most 32 MB of rotated rows.

    Args:
        Cs: Inverse regularisation strengths to try: a number of values, spaced evenly in the logarithm from 1e-6 to
            1e5, or the values. 45, and the warm start, as in Kornblith et al. 2019, Do Better ImageNet Models
            Transfer Better?, appendix A.
        C: A fixed value, without a sweep. Then no validation rows are split off; given ones are measured.
        standardize: Scale the features by their deviations, which are shrunk where there are few rows: True for
            `ShrunkScaler()`, or another `ShrunkScaler`, which is not changed.
        max_iter: Maximum number of L-BFGS iterations per value of C. In the sweep a solution that reaches it is
            compared like the others; in the final fit a warning is logged.
        tol: Largest entry of the gradient of the mean loss, along those directions, at which the sweep has converged;
            the final fit uses a tenth of it.
        validation_fraction: Fraction of the rows, stratified, on which C is selected if no validation rows are given.
        random_state: Seed of that split. Nothing else is random.
        refit: Whether to refit with the selected C on the rows and the validation rows together. If not, the head is
            the one that was measured, fitted without the validation rows. `continue_fit` can follow.

    Attributes:
        classes_: (K,) labels, sorted.
        C_: The value used.
        coef_: (K, D) weights for raw features, the standardisation folded in: `softmax(X @ coef_.T + intercept_)`.
            Two classes have a row each, too, the negative of the other.
        intercept_: (K,).
        path_: One dict per value of C, ascending: `C`, `val_top1`, `val_nll`. Empty without validation.
        val_probabilities_: (N_val, K) of the selected model before the refit; without validation (0, K).
        val_metrics_: `metrics.compute_metrics` of these; empty without such rows.
        n_iter_: (1,) L-BFGS iterations of the final fit, which starts from the selected head; without a refit those of
            the selected head.
        passes_: Number of passes over the rows, in the sweep and in the final fit: each computes one loss and its
            gradient.
        n_features_in_: D.
    """

    def __init__(
        self,
        Cs: int | Sequence[float] | Doubles = 45,
        C: float | None = None,
        standardize: bool | ShrunkScaler = True,
        max_iter: int = 500,
        tol: float = 1e-4,
        validation_fraction: float = 0.2,
        random_state: int = 0,
        refit: bool = True,
    ) -> None:
        self.Cs = Cs
        self.C = C
        self.standardize = standardize
        self.max_iter = max_iter
        self.tol = tol
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.refit = refit

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> "LinearProbe":
        """Select C and fit.

        Args:
            X: (N, D) features.
            y: (N,) labels of any kind that sorts.
            X_val: (N_val, D). By default a stratified part of the rows is used.
            y_val: (N_val,) labels, all of which occur in `y`.

        Raises:
            TransferkitError: Fewer than two classes, labels in `y_val` unknown to `y`, a value of C that is not
                positive, or nothing to validate on.
            ValueError: NaN or infinity, or shapes that do not fit (from scikit-learn).
        """
        X, y = _validated(self, X, y, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise TransferkitError(f"Only one class ({self.classes_[0]}) among the {len(y)} labels: a probe needs two.")
        val = None if X_val is None else _known(self, X_val, y_val)
        with threads(X.shape, len(self.classes_)):
            self._fit(X, labels, val)
        return _converged(self)

    def continue_fit(self, X: Any, y: Any, X_more: Any = None, y_more: Any = None) -> "LinearProbe":
        """Refit on these rows with the present C, starting from the present head.

        Args:
            X: (N, D) features.
            y: (N,) labels.
            X_more: (M, D) further features to fit on, so that both need not be copied into one array.
            y_more: (M,) labels. Together they have every class of the probe, and no other.

        Raises:
            TransferkitError: Labels unknown to the probe, or a class without rows.
        """
        check_is_fitted(self)
        rows = [_known(self, X, y), *([] if X_more is None else [_known(self, X_more, y_more)])]
        labels = np.concatenate([found for _, found in rows])
        if missing := sorted(set(range(len(self.classes_))) - set(labels.tolist())):
            raise TransferkitError(f"There are no rows of class {self.classes_[missing[0]]}.")
        with threads(rows[0][0].shape, len(self.classes_)):
            start = Fit(self.C_, (self.coef_, self.intercept_))
            self._take(fit_rows(_solver(self), start, [part for part, _ in rows], labels))
        return _converged(self)

    def decision_function(self, X: Any) -> Doubles:
        """Logits (N, K) of raw features (N, D); of two classes, (N,): that of the second minus that of the first."""
        logits = _logits(self, X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> Doubles:
        """Class probabilities (N, K) of raw features (N, D)."""
        probabilities: Doubles = softmax(_logits(self, X), axis=1)
        return probabilities

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Most probable labels (N,) of raw features (N, D)."""
        logits = _logits(self, X)
        labels: npt.NDArray[Any] = self.classes_[logits.argmax(axis=1)]
        return labels

    def _fit(self, X: Any, labels: Ints, val: Labelled | None) -> None:
        """Select C if there are several values, and fit all rows with it."""
        Cs, solver = value_grid(self.Cs if self.C is None else [self.C]), _solver(self)
        chosen, parts = None, [X]
        if val is not None:
            chosen = select_C(solver, Cs, (X, labels), val)
            parts, labels = [X, val[0]], np.concatenate([labels, val[1]])
        elif len(Cs) > 1:
            train, held = _split(labels, self.validation_fraction, self.random_state)
            chosen = select_C(solver, Cs, (X[train], labels[train]), (X[held], labels[held]))
        start = chosen or Fit(float(Cs[0]), None, val_probabilities=np.empty((0, solver.num_classes)))
        self.C_, self.path_, self.passes_ = start.C, start.path, 0
        self.val_probabilities_, self.val_metrics_ = start.val_probabilities, start.val_metrics
        if chosen is not None:
            self._take(chosen)
        if chosen is None or self.refit:
            self._take(fit_rows(solver, start, parts, labels))

    def _take(self, fit: Fit) -> None:
        assert fit.head is not None
        self.coef_, self.intercept_ = fit.head
        self.n_iter_ = np.array([fit.iterations])
        self.passes_ += fit.passes


def _logits(probe: LinearProbe, X: Any) -> Doubles:
    check_is_fitted(probe)
    X = validate_data(probe, X, dtype=(np.float64, np.float32), reset=False)
    logits: Doubles = X @ probe.coef_.T + probe.intercept_
    return logits


def _validated(probe: LinearProbe, X: Any, y: Any, **how: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Validate as scikit-learn does, but check for NaN and infinity one block at a time."""
    X, y = validate_data(probe, X, y, dtype=(np.float64, np.float32), ensure_all_finite=False, **how)
    for _, block in Stack([X]).blocks():
        assert_all_finite(block, input_name="X")
    return X, y


def _known(probe: LinearProbe, X: Any, y: Any) -> Labelled:
    """Validate rows of the classes of the probe."""
    X, y = _validated(probe, X, y, reset=False)
    return X, _index(y, probe.classes_)


def _solver(probe: LinearProbe) -> Solver:
    scaler = probe.standardize if isinstance(probe.standardize, ShrunkScaler) else ShrunkScaler()
    return Solver(len(probe.classes_), scaler if probe.standardize else None, probe.tol, probe.max_iter)


def _converged(probe: LinearProbe) -> LinearProbe:
    """The probe, with a warning in the log if it did not converge."""
    if probe.n_iter_[0] >= probe.max_iter:
        log.warning("Logistic regression stopped at max_iter=%d before it converged.", probe.max_iter)
    return probe


def _index(labels: npt.NDArray[Any], classes: npt.NDArray[Any]) -> Ints:
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise TransferkitError(f"Labels without training rows: {', '.join(map(str, unknown[:10]))}.")
    return np.searchsorted(classes, labels)


def value_grid(Cs: int | Sequence[float] | Doubles) -> Doubles:
    """The values of C in ascending order: these, or so many from 1e-6 to 1e5, spaced evenly in the logarithm.

    Raises:
        TransferkitError: There are none, or one is not positive.
    """
    values = np.logspace(*C_RANGE, Cs) if isinstance(Cs, int | np.integer) else np.unique(np.asarray(Cs, dtype=float))
    if values.size == 0 or not (np.isfinite(values) & (values > 0)).all():
        raise TransferkitError(f"Cs={Cs}: needs a number of values of at least 1, or positive values.")
    return values


def _split(labels: Ints, fraction: float, seed: int) -> tuple[Ints, Ints]:
    """Stratified training and validation rows, at least one of each per class that has two rows."""
    if not 0 < fraction < 1:
        raise TransferkitError(f"validation_fraction={fraction}: needs a number between 0 and 1.")
    rng = np.random.default_rng(seed)
    val: list[Ints] = []
    for label in range(labels.max() + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        val.append(rows[: min(max(1, round(fraction * len(rows))), len(rows) - 1)])
    chosen = np.sort(np.concatenate(val))
    if len(chosen) == 0:
        raise TransferkitError("Every class has a single row, so C cannot be selected: pass X_val and y_val, or C.")
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
