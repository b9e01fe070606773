"""Linear classifiers on frozen features: of one stage (linear_probe), or of several, the best on val (stage_probe)."""

import logging
from typing import Any

import numpy as np

from transferkit.features.extract import join_stages
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.linear import LinearProbe
from transferkit.ranking import best_stage
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.frozen_features import chosen_pool, extract_train_val, probe_stages, refuse_augment
from transferkit.strategies.linear_probe import chosen_row, create_probe, probe_head, probe_path

log = logging.getLogger(__name__)


def fit_probes(context: Context) -> Fitted:
    """Fit the strategies that have a node `probe`, with their solver.

    Raises:
        TransferkitError: A setting cannot be used.
    """
    strategy = context.strategy
    if strategy.get("solver") == "gradient":
        from transferkit.strategies.gradient_probe import fit_gradient_probe  # Lightning is slow to import

        fitted: Fitted = fit_gradient_probe(context)
        return fitted
    return fit_exact_probes(context)


def fit_exact_probes(context: Context) -> Fitted:
    """Fit a probe on every requested stage, or one on all together; select the best on val.

    One extraction serves all of them. Only the selected probe is refitted on train and val together, and the model's
    backbone ends with the last stage that it needs.

    Raises:
        TransferkitError: A setting cannot be used.
    """
    backbone, data, strategy = context.backbone, context.data, context.strategy
    refuse_augment(context.settings, "use strategy.solver=gradient, which trains on augmented images, or augment=none")
    stages, pool = probe_stages(backbone, strategy), chosen_pool(backbone, strategy)
    choices = [stages] if strategy.get("combine") == "concat" else [[stage] for stage in stages]
    train, val = extract_train_val(context, stages, pool)
    probes: dict[str, LinearProbe] = {}
    figures: dict[str, dict[str, Any]] = {}
    with context.timer.step("fit"):
        for taken in choices:
            name, probe = "+".join(taken), create_probe(strategy["probe"], context.seed)
            probe.fit(join_stages(train, taken), data.train.labels, join_stages(val, taken), data.val.labels)
            probes[name], figures[name] = probe, {**chosen_row(probe), "features": probe.n_features_in_}
            log.info("Probe of %s: C = %.3g, top-1 on val %.1f %%.", name, probe.C_, 100 * figures[name]["val_top1"])
        best = best_stage(figures)
        if len(choices) > 1:
            log.info("Selected on val: %s.", best)
        taken, probe = best.split("+"), probes[best]
        probe.continue_fit(join_stages(train, taken), data.train.labels, join_stages(val, taken), data.val.labels)
        head = probe_head(probe, len(data.class_names))
    return Fitted(
        model=TransferModel(backbone.truncate(taken[-1]), head, data.class_names, taken, pool).eval(),
        val=np.asarray(probe.val_probabilities_, dtype=np.float32),
        trainable_parameters=sum(p.numel() for p in head.parameters()),
        stages=figures,
        sweep={name: probe_path(probe) for name, probe in probes.items()},
        details={"stage": best, "solver": "exact", "pool": pool},
    )
