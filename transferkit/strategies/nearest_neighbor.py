"""Nearest neighbours in the space of frozen features, with stage, metric and k selected on val or over folds."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from transferkit.arrays import Features, Labels
from transferkit.errors import TransferkitError
from transferkit.folds import Chooser
from transferkit.metrics import compute_metrics
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import NeighborHead, nearest, vote_shares
from transferkit.ranking import rank, row_rank
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.frozen_features import (
    chosen_pool,
    extract_train_val,
    find_choosing_folds,
    named_stages,
    refuse_augment,
)

log = logging.getLogger(__name__)

Tried = tuple[dict[str, Any], OutOfFold]


def fit_neighbors(context: Context) -> Fitted:
    """Select stage, metric and k on val or over folds; the model's gallery holds the features of train and val.

    Ties of `ranking.rank` go to the metric named first and the smaller k.

    Raises:
        TransferkitError: A setting cannot be used.
    """
    backbone, data, strategy = context.backbone, context.data, context.strategy
    wanted, pool = strategy["neighbors"], chosen_pool(backbone, strategy)
    refuse_augment(context.settings, "use augment=none")
    stages = named_stages(backbone, wanted["stages"], "strategy.neighbors.stages")
    chooser, labels = find_choosing_folds(context), data.fit_labels()
    fewest = min(len(rows) for rows, _ in chooser.folds)
    ks = [k for k in sorted(set(wanted["ks"])) if k <= fewest]
    if not ks:
        raise TransferkitError(f"strategy.neighbors.ks={wanted['ks']}: only {fewest} images are searched.")
    splits = extract_train_val(context, stages, pool)
    with context.timer.step("fit"):
        tried = [
            found
            for stage in stages
            for metric in wanted["metrics"]
            for found in _try(
                [split[stage] for split in splits], labels, ks, chooser, {"stage": stage, "metric": metric}
            )
        ]
        rows = [row for row, _ in tried]
        best, predictions = max(
            tried, key=lambda pair: rank(pair[0]["val_top1"], pair[0]["val_nll"], stages.index(pair[0]["stage"]))
        )
        stage = best["stage"]
        log.info(
            "Selected by %s: k = %d, %s, on %s; top-1 %.1f %%.",
            *(chooser.words(), best["k"], best["metric"], stage, 100 * best["val_top1"]),
        )
        head = NeighborHead(
            torch.from_numpy(np.concatenate([split[stage] for split in splits])),
            torch.from_numpy(labels),
            len(data.class_names),
            best["k"],
            best["metric"],
        )
    return Fitted(
        model=TransferModel(backbone.truncate(stage), head, data.class_names, [stage], pool).eval(),
        val=predictions.rows(len(data.train), len(labels)),
        trainable_parameters=0,
        stages={name: _best_of(rows, name) | {"features": int(splits[0][name].shape[1])} for name in stages},
        details={
            "stage": stage,
            "k": best["k"],
            "metric": best["metric"],
            "pool": pool,
            "neighbors": rows,
            "selection": chooser.facts(),
        },
        out_of_fold=predictions if chooser.by == "cv" else None,
    )


def _try(
    splits: Sequence[Features], labels: Labels, ks: list[int], chooser: Chooser, names: Mapping[str, str]
) -> Iterator[Tried]:
    """Search once in each fold for the largest k; yield metrics and predictions for every k.

    On val, features are searched where they lie; folds of few images are copied.
    """
    classes, found = int(labels.max()) + 1, []
    together = np.concatenate(splits) if chooser.by == "cv" else None
    for rows, test in chooser.folds:
        gallery, queries = splits if together is None else (together[rows], together[test])
        found.append(labels[rows][nearest(queries, gallery, ks[-1], names["metric"])[1].numpy()])
    voters, images = torch.from_numpy(np.concatenate(found)), np.concatenate([test for _, test in chooser.folds])
    for k in ks:
        predictions = OutOfFold.of(vote_shares(voters[:, :k], classes).numpy(), images, labels)
        figures = compute_metrics(predictions.probabilities, predictions.labels)
        yield {**names, "k": k, "val_top1": figures["top1"], "val_nll": figures["nll"]}, predictions


def _best_of(rows: list[dict[str, Any]], stage: str) -> dict[str, Any]:
    best = max((row for row in rows if row["stage"] == stage), key=row_rank)
    return {key: value for key, value in best.items() if key != "stage"}
