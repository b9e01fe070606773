"""Where the `augment` group applies, and how many views of an image it makes. No torch."""

from collections.abc import Mapping
from typing import Any

AUTO_VIEWS = 10
"""Fixed views of an image with `augment.views=auto`, where more passes over the images are made."""


def used_augment(augment: Mapping[str, Any], trains_stage: bool) -> Mapping[str, Any]:
    """The `augment` group, without its transforms where it does not apply.

    Args:
        augment: The group.
        trains_stage: Whether a stage of the backbone is trained. Where only a head is, `augment.heads` decides.
    """
    return augment if trains_stage or augment.get("heads", True) else {**augment, "transforms": {}}


def count_views(augment: Mapping[str, Any], passes: int = 0) -> int | None:
    """Number of fixed views per image of an `augment` group: 1 without augmentation, None for new views every epoch.

    Args:
        augment: The group.
        passes: Over the images, in the whole training: no more views than these; with `augment.views=auto` they are
            fixed if there are many.
    """
    if not any(given is not None for given in augment["transforms"].values()):
        return 1
    views = augment.get("views")
    if views == "auto":
        return AUTO_VIEWS if passes > AUTO_VIEWS else None
    if views is None:
        return None
    return min(views, passes) if passes else int(views)
