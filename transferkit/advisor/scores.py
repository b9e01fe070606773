"""Transferability scores: how well features, or a source classifier's outputs, fit new labels, without training."""

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Doubles, Labels

_MAX_STEPS, _TOLERANCE = 200, 1e-8


def logme(features: npt.ArrayLike, labels: Labels) -> float:
    """LogME (You et al. 2021, LogME: Practical Assessment of Pre-trained Models, equations 2 to 4 and algorithm 1).

    For each class k its indicator y (N,) is regressed on the features F (N, D): w ~ N(0, 1/alpha), y ~ N(F w, 1/beta).
    The logarithm of the evidence,

        L(alpha, beta) = N/2 log beta + D/2 log alpha - N/2 log 2 pi - beta/2 |F m - y|^2 - alpha/2 |m|^2 - 1/2 log |A|

    with A = alpha I + beta F'F and m = beta A^-1 F'y, is maximised over alpha and beta; the mean of L/N over the
    classes is returned. Higher is better; values of different data sets are not to be compared.

    Args:
        features: (N, D).
        labels: (N,), from 0.
    """
    F = np.asarray(features, dtype=np.float64)
    u, s, _ = np.linalg.svd(F, full_matrices=False)
    return float(
        np.mean([_max_evidence(u, s**2, F.shape, (labels == k).astype(np.float64)) for k in np.unique(labels)])
    )


def _max_evidence(u: Doubles, sigma: Doubles, shape: tuple[int, ...], y: Doubles) -> float:
    """The largest L/N of one target, by the fixed point of algorithm 1; `u` and `sigma` are of F = u sqrt(sigma) v'."""
    N, D = shape
    z2 = (u.T @ y) ** 2
    outside = max(float(y @ y - z2.sum()), 0.0)  # of y, what no weights can explain
    alpha, beta = 1.0, 1.0
    for _ in range(_MAX_STEPS):
        shrink = alpha + beta * sigma
        gamma = float((beta * sigma / shrink).sum())
        m2 = float((beta**2 * sigma * z2 / shrink**2).sum())
        residual = float((z2 * (alpha / shrink) ** 2).sum()) + outside
        new_alpha = gamma / max(m2, 1e-300)
        new_beta = (N - gamma) / max(residual, 1e-300)
        # Perfectly separable data let both grow without end; the evidence per row is then as good as final.
        new_alpha, new_beta = min(new_alpha, 1e12), min(max(new_beta, 1e-12), 1e12)
        done = abs(new_alpha - alpha) <= _TOLERANCE * alpha and abs(new_beta - beta) <= _TOLERANCE * beta
        alpha, beta = new_alpha, new_beta
        if done:
            break
    shrink = alpha + beta * sigma
    m2 = float((beta**2 * sigma * z2 / shrink**2).sum())
    residual = float((z2 * (alpha / shrink) ** 2).sum()) + outside
    log_det = float(np.log(shrink).sum()) + (D - len(sigma)) * np.log(alpha)
    evidence = N * np.log(beta) + D * np.log(alpha) - N * np.log(2 * np.pi) - beta * residual - alpha * m2 - log_det
    return float(evidence) / (2 * N)


def h_score(features: npt.ArrayLike, labels: Labels) -> float:
    """H-score (Bao et al. 2019, An Information-Theoretic Approach to Transferability in Task Transfer Learning).

        H(f) = tr(cov(f)^-1 cov(E[f | y]))

    the between-class part of the features' variance after whitening; from 0 to K - 1, higher is better. With no more
    images than features it is close to its upper limit whatever the labels, and says nothing.

    Args:
        features: (N, D).
        labels: (N,).
    """
    F = np.asarray(features, dtype=np.float64)
    F = F - F.mean(axis=0)
    means = np.stack([F[labels == k].mean(axis=0) for k in np.unique(labels)])
    g = means[np.searchsorted(np.unique(labels), labels)]
    inverse = np.linalg.pinv(F.T @ F, rcond=1e-10, hermitian=True)
    return float(np.sum(inverse * (g.T @ g)))


def leep(source_probabilities: npt.ArrayLike, labels: Labels) -> float:
    """LEEP (Nguyen et al. 2020, LEEP: A New Measure to Evaluate Transferability, equations 1 and 2).

        LEEP = 1/N sum_i log sum_z P(y_i | z) theta(x_i)_z,   P(y | z) = P(y, z) / P(z),
        P(y, z) = 1/N sum_{i: y_i = y} theta(x_i)_z

    the mean log-likelihood of the labels when a source class z is drawn from the source classifier's probabilities
    theta and the label from its empirical distribution given z. At most 0, higher is better.

    Args:
        source_probabilities: (N, Z), of the source classes.
        labels: (N,).
    """
    theta = np.asarray(source_probabilities, dtype=np.float64)
    classes, index = np.unique(labels, return_inverse=True)
    joint = np.eye(len(classes))[index].T @ theta / len(theta)
    conditional = joint / np.maximum(joint.sum(axis=0), 1e-300)
    likelihood = (conditional[index] * theta).sum(axis=1)
    return float(np.log(np.maximum(likelihood, 1e-300)).mean())
