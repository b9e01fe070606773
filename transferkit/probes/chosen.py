"""The features, the classifier and its C, chosen by their scores; and the head fitted with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from transferkit.arrays import Probabilities
from transferkit.folds import Chooser
from transferkit.probes.fold_scores import Hits, Score, fit_head
from transferkit.probes.logistic.basis import Head, Stack
from transferkit.probes.logistic.rows import Ints
from transferkit.ranking import rank

CLOSE = 0.5
"""Standard errors of the difference in accuracy up to which the C with the lower loss is taken."""


@dataclass(frozen=True)
class Candidate:
    """Features that a classifier can be fitted on, and the scores of what was tried on them.

    Attributes:
        name: Of the stages: "stage3", "stage3+stage5".
        X: (N, D) features of train and val.
        scores: Of every scaler, classifier and C, the simplest first.
        best: The best C of each scaler and classifier, the simplest first.
    """

    name: str
    X: Stack
    scores: Sequence[Score]
    best: Sequence[Score]


@dataclass(frozen=True)
class Choice:
    """A candidate, and the score of the chosen classifier and C on its features."""

    candidate: Candidate
    score: Score


def make_candidate(name: str, X: Stack, scores: Sequence[Score], by: str) -> Candidate:
    """The candidate with the best C of each scaler and classifier, by "val" or "cv" (see `best_C`)."""
    paths: dict[tuple[int, str], list[Score]] = {}
    for score in scores:
        paths.setdefault((id(score.scaler), score.classifier), []).append(score)
    return Candidate(name, X, scores, [best_C(path, by) for path in paths.values()])


def path_of(choice: Choice) -> list[Score]:
    """The scores of every C, ascending, of the chosen classifier and scaler."""
    chosen = choice.score
    scores = choice.candidate.scores
    return [score for score in scores if (score.classifier, score.scaler) == (chosen.classifier, chosen.scaler)]


def best_C(scores: Sequence[Score], by: str) -> Score:
    """The best C of one classifier on the same features; scores in ascending order of C.

    On val it is the one that ranks first. Over folds of few images most accuracies differ by chance only: of those
    within half a standard error of the best, the one with the lowest risk (`Score.risk`); and instead of one at either
    end of the grid another one within a standard error.
    """
    if by == "val":
        return max(scores, key=lambda score: rank(score.top1, score.nll))
    for errors in (CLOSE, 1.0):
        inner = [score for score in within_error(scores, errors) if scores[0].C < score.C < scores[-1].C]
        if inner:
            return min(inner, key=lambda score: score.risk)
    return min(within_error(scores, CLOSE), key=lambda score: score.risk)


def choose(candidates: Sequence[Candidate], by: str) -> Choice:
    """The candidate and classifier that rank first; candidates from the first stage to the deepest.

    Over folds, of those within a standard error of the most accurate one the one with the lowest risk
    (`Score.risk`); of equal ones the simplest: the scaler and classifier that stand first, then the deeper stage. To
    take the simplest of those within the error was 0.6 points worse (docs/probes.md).
    """
    tried = [
        (rank(score.top1, score.nll, depth), order, depth, Choice(candidate, score))
        for depth, candidate in enumerate(candidates)
        for order, score in enumerate(candidate.best)
    ]
    first = max(tried, key=lambda row: row[0])
    if by == "val":
        return first[3]
    close = within_error([row[3].score for row in tried])
    likeliest = min(
        (row for row in tried if row[3].score in close), key=lambda row: (row[3].score.risk, row[1], -row[2])
    )
    return likeliest[3]


def within_error(scores: Sequence[Score], errors: float = 1.0) -> list[Score]:
    """Those as accurate as the most accurate one, up to so many standard errors of the difference on the same rows."""
    best = max(scores, key=lambda score: rank(score.top1, score.nll))
    return [score for score in scores if best.top1 - score.top1 <= errors * paired_error(best.hits, score.hits) + 1e-9]


def paired_error(first: Hits, second: Hits) -> float:
    """Standard error of the mean difference of two sets of results (M,) on the same rows."""
    if len(first) < 2:
        return 0.0
    return float(np.std(first.astype(np.float64) - second, ddof=1) / np.sqrt(len(first)))


def fit_choice(choice: Choice, labels: Ints, rows: Ints | None = None) -> Head:
    """The head of the chosen classifier on raw features, fitted on all rows, or on these.

    Args:
        choice: Chosen.
        labels: (N,) of all rows.
        rows: Ascending.
    """
    X = choice.candidate.X
    if rows is not None:
        X, labels = X.rows(rows), labels[rows]
    return fit_head(choice.score, X, labels)


def held_out(choice: Choice, labels: Ints, chooser: Chooser) -> tuple[Probabilities, Ints]:
    """Probabilities (M, K) of rows by heads that were fitted without them, and these rows (M,), in every repeat."""
    found = []
    for rows, test in chooser.folds:
        weights, bias = fit_choice(choice, labels, rows)
        logits = np.concatenate([block @ weights.T + bias for _, block in choice.candidate.X.rows(test).blocks()])
        found.append(softmax(logits, axis=1).astype(np.float32))
    return np.concatenate(found), np.concatenate([test for _, test in chooser.folds])
