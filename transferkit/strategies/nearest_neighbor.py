"""Nearest neighbours in the space of frozen features, with stage, metric and k selected on val."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from transferkit.arrays import Features, Probabilities
from transferkit.errors import TransferkitError
from transferkit.metrics import compute_metrics
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import NeighborHead, nearest, vote_shares
from transferkit.ranking import rank, row_rank
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.frozen_features import chosen_pool, extract_train_val, named_stages, refuse_augment

log = logging.getLogger(__name__)


def fit_neighbors(context: Context) -> Fitted:
    """Select stage, metric and k on val; the model's gallery holds the features of train and val.

    Ties of `ranking.rank` go to the metric named first and the smaller k.

    Raises:
        TransferkitError: A setting cannot be used.
    """
    backbone, data, strategy = context.backbone, context.data, context.strategy
    wanted, pool = strategy["neighbors"], chosen_pool(backbone, strategy)
    refuse_augment(context.settings, "use augment=none")
    stages = named_stages(backbone, wanted["stages"], "strategy.neighbors.stages")
    ks = [k for k in sorted(set(wanted["ks"])) if k <= len(data.train)]
    if not ks:
        raise TransferkitError(f"strategy.neighbors.ks={wanted['ks']}: train has only {len(data.train)} images.")
    train, val = extract_train_val(context, stages, pool)
    with context.timer.step("fit"):
        tried = [
            (row, probabilities)
            for stage in stages
            for metric in wanted["metrics"]
            for row, probabilities in _try(context, train[stage], val[stage], ks, {"stage": stage, "metric": metric})
        ]
        rows = [row for row, _ in tried]
        best, probabilities = max(
            tried, key=lambda pair: rank(pair[0]["val_top1"], pair[0]["val_nll"], stages.index(pair[0]["stage"]))
        )
        stage = best["stage"]
        log.info(
            "Selected on val: k = %d, %s, on %s; top-1 %.1f %%.",
            *(best["k"], best["metric"], stage, 100 * best["val_top1"]),
        )
        head = NeighborHead(
            torch.from_numpy(np.concatenate([train[stage], val[stage]])),
            torch.from_numpy(np.concatenate([data.train.labels, data.val.labels])),
            len(data.class_names),
            best["k"],
            best["metric"],
        )
    return Fitted(
        model=TransferModel(backbone.truncate(stage), head, data.class_names, [stage], pool).eval(),
        val=probabilities,
        trainable_parameters=0,
        stages={name: _best_of(rows, name) | {"features": int(train[name].shape[1])} for name in stages},
        details={"stage": stage, "k": best["k"], "metric": best["metric"], "pool": pool, "neighbors": rows},
    )


def _try(
    context: Context, train: Features, val: Features, ks: list[int], names: Mapping[str, str]
) -> list[tuple[dict[str, Any], Probabilities]]:
    """Search once for the largest k; return metrics and val probabilities (N_val, K) for every k."""
    data = context.data
    labels, num_classes = torch.from_numpy(data.train.labels), len(data.class_names)
    _, indices = nearest(val, train, ks[-1], names["metric"])
    tried = []
    for k in ks:
        probabilities = vote_shares(labels[indices[:, :k]], num_classes).numpy()
        figures = compute_metrics(probabilities, data.val.labels)
        tried.append(({**names, "k": k, "val_top1": figures["top1"], "val_nll": figures["nll"]}, probabilities))
    return tried


def _best_of(rows: list[dict[str, Any]], stage: str) -> dict[str, Any]:
    best = max((row for row in rows if row["stage"] == stage), key=row_rank)
    return {key: value for key, value in best.items() if key != "stage"}
