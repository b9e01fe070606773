"""Train and val batches of a fit: computed once where they are always the same, else anew in every epoch."""

import logging

from transferkit.augment import create_augment
from transferkit.backbones.backbone import Backbone
from transferkit.device import find_device
from transferkit.loading import count_workers
from transferkit.plan import Phase
from transferkit.strategies.context import Context
from transferkit.training.data import TrainingData
from transferkit.training.stored import Place, choose_place, store_inputs

log = logging.getLogger(__name__)


def make_batches(
    context: Context,
    backbone: Backbone,
    phase: Phase,
    batch_size: int,
    *,
    seed: int,
    prefix: tuple[str, ...] = (),
    accumulate: int = 1,
) -> tuple[TrainingData, str | None]:
    """Batches for one phase.

    Args:
        context: Its data, augmentation, and limits of memory.
        backbone: The network, as it is when the phase begins.
        phase: Says how many passes over the data an epoch makes.
        batch_size: Images of a batch.
        seed: Of order and augmentation.
        prefix: Leading frozen stages, after which the inputs may be taken.
        accumulate: Batches per optimizer step.

    Returns:
        The batches, and the stage after which they were taken (None: they are images).
    """
    settings, data, preprocess = context.settings, context.data, backbone.preprocess
    workers, passes = settings["trainer"]["num_workers"], phase.passes(len(data.train), batch_size * accumulate)
    augment = create_augment(settings["augment"]["transforms"], preprocess)
    place = Place(False)
    if augment is None:
        images, limit = len(data.train) + len(data.val), settings["cache"]["ram_gb"]
        place = choose_place(backbone, prefix, preprocess(data.train.image(0)), images, limit)
    if not place.stored:
        workers = count_workers(len(data.train) * passes) if workers == "auto" else workers
        streamed = TrainingData(
            data.train, data.val, preprocess, augment, batch_size, seed=seed, num_workers=workers, passes=passes
        )
        return streamed, None
    what = "the preprocessed images" if place.stage is None else f"what leaves {place.stage}, frozen"
    log.info("Kept in memory (%.0f MB): %s.", place.megabytes, what)
    device = find_device(settings["trainer"]["device"])
    train, val = (
        store_inputs(
            backbone, images, preprocess, place, device, count_workers(len(images)) if workers == "auto" else workers
        )
        for images in (data.train, data.val)
    )
    return TrainingData(train, val, None, None, batch_size, seed=seed, passes=passes), place.stage
