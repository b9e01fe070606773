"""Linear classifiers on frozen features: of one stage (linear_probe), the best of several (stage_probe), or all."""

import logging
from collections.abc import Mapping, Sequence

from transferkit.arrays import Features
from transferkit.folds import Chooser
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.chosen import Candidate, Choice, choose, fit_choice, held_out, make_candidate, path_of
from transferkit.probes.fold_scores import score_classifiers
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.scaling import scalers_to_try
from transferkit.strategies.column_probe import fit_column_probes
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.frozen_features import (
    chosen_pool,
    extract_train_val,
    find_choosing_folds,
    probe_stages,
    refuse_augment,
)
from transferkit.strategies.linear_probe import at_the_edge, balance_note, linear_head, make_grids, score_row

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
    if not context.data.target.soft_max:
        return fit_column_probes(context)
    return fit_exact_probes(context)


def fit_exact_probes(context: Context) -> Fitted:
    """Fit classifiers on every requested stage, or on all together; select the best on val, or over folds.

    One extraction serves all of them. Only the selected classifier is refitted on train and val together, and the
    model's backbone ends with the last stage that it needs.

    Raises:
        TransferkitError: A setting cannot be used.
    """
    backbone, data, strategy = context.backbone, context.data, context.strategy
    refuse_augment(context.settings, "use strategy.solver=gradient, which trains on augmented images, or augment=none")
    stages, pool = probe_stages(backbone, strategy), chosen_pool(backbone, strategy)
    choices = [stages] if strategy.get("combine") == "concat" else [[stage] for stage in stages]
    splits, labels = extract_train_val(context, stages, pool), data.fit_labels()
    with context.timer.step("fit"):
        chooser = find_choosing_folds(context)
        candidates = [_try(context, taken, splits, chooser) for taken in choices]
        choice = choose(candidates, chooser.by)
        _tell(choice, candidates, chooser)
        head = linear_head(fit_choice(choice, labels), len(data.class_names))
        out_of_fold = OutOfFold.of(*held_out(choice, labels, chooser), labels)
    taken, figures = choice.candidate.name.split("+"), out_of_fold.metrics()
    stages_figures = {
        candidate.name: score_row(choose([candidate], chooser.by).score) | {"features": candidate.X.shape[1]}
        for candidate in candidates
    }
    stages_figures[choice.candidate.name] |= {"val_top1": figures["top1"], "val_nll": figures["nll"]}
    return Fitted(
        model=TransferModel(backbone.truncate(taken[-1]), head, data.class_names, taken, pool).eval(),
        val=out_of_fold.rows(len(data.train), len(labels)),
        trainable_parameters=sum(p.numel() for p in head.parameters()),
        stages=stages_figures,
        sweep=_sweep(candidates, choice, chooser),
        details={
            "stage": choice.candidate.name,
            "solver": "exact",
            "pool": pool,
            "classifier": choice.score.classifier,
            "selection": chooser.facts(),
        },
        out_of_fold=out_of_fold if chooser.by == "cv" else None,
    )


def _try(
    context: Context, taken: Sequence[str], splits: Sequence[Mapping[str, Features]], chooser: Chooser
) -> Candidate:
    """Evaluate every classifier on the features of these stages, side by side."""
    settings = context.strategy["probe"]
    X = Stack([[split[stage] for stage in taken] for split in splits])
    widths, labels, grids = (
        [splits[0][stage].shape[1] for stage in taken],
        context.data.fit_labels(),
        make_grids(settings),
    )
    scalers = scalers_to_try(widths, settings["balance"])
    how = labels, chooser.folds
    balanced = settings.get("class_weights") == "balanced"
    scores = [found for scaler in scalers for found in score_classifiers(X, *how, scaler, grids, balanced)]
    return make_candidate("+".join(taken), X, scores, chooser.by)


def _tell(choice: Choice, candidates: Sequence[Candidate], chooser: Chooser) -> None:
    """Log the results of every candidate, and what was selected on what."""
    for candidate in candidates:
        for score in candidate.best:
            log.info(
                "%s on %s%s: C = %.3g, top-1 %.1f %% (%s).",
                *(score.classifier.capitalize(), candidate.name, balance_note(score), score.C, 100 * score.top1),
                chooser.words(),
            )
    log.info(
        "Selected by %s: %s on %s%s.",
        *(chooser.words(), choice.score.classifier, choice.candidate.name, balance_note(choice.score)),
    )
    if at_the_edge(choice):
        log.warning(
            "C = %.3g is at the end of the values tried: others may be better (strategy.probe.Cs).", choice.score.C
        )


def _sweep(candidates: Sequence[Candidate], choice: Choice, chooser: Chooser) -> dict[str, list[dict[str, float]]]:
    """The results of every value of C, of the classifier that is the best on each candidate's features."""
    found = {}
    for candidate in candidates:
        rows = path_of(choice if candidate is choice.candidate else choose([candidate], chooser.by))
        found[candidate.name] = [{"C": row.C, "val_top1": row.top1, "val_nll": row.nll} for row in rows]
    return found
