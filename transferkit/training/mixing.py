"""MixUp and CutMix of a plan: batches whose images and labels are mixed."""

from torchvision.transforms import v2

from transferkit.training.plan import Plan


def create_mixing(plan: Plan, num_classes: int) -> v2.Transform | None:
    """Return MixUp, CutMix, or one of them at random for each batch; None for neither.

    Labels of a batch are classes (n,), or 0 and 1 for each label (n, K), which are mixed as they are.
    """
    kinds = [(v2.MixUp, plan.mixup), (v2.CutMix, plan.cutmix)]
    chosen = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha]
    if len(chosen) == 2:
        return v2.RandomChoice(chosen)
    return chosen[0] if chosen else None
