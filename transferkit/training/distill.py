"""Distillation: a teacher's probabilities, at a temperature, are targets beside the labels (Hinton et al. 2015)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel


class Teacher:
    """A fitted model that is not trained.

    Args:
        model: Gets the same batches as the student; those of another preprocessing are resized and normalised anew.
        settings: `temperature` and `weight`.
        student: The student's preprocessing.
        class_names: The student's classes.

    Raises:
        TransferkitError: The teacher has other classes.
    """

    def __init__(
        self, model: TransferModel, settings: Mapping[str, Any], student: Preprocessing, class_names: Sequence[str]
    ) -> None:
        if missing := sorted(set(class_names) ^ set(model.class_names)):
            raise TransferkitError(
                f"strategy.distill.teacher={settings['teacher']} must have the classes of the data set; different: "
                f"{', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}."
            )
        self.model = model.requires_grad_(False).eval()
        self._order = [model.class_names.index(name) for name in class_names]
        self._temperature, self._weight = float(settings["temperature"]), float(settings["weight"])
        self._student = student

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K) in the order of the student's classes.

        Args:
            images: (N, 3, H, W) as the student gets them: uint8, or preprocessed.
        """
        self.model.to(images.device)
        logits: Tensor = self.model(self._inputs(images)).float()
        return logits[:, self._order]

    def loss(self, images: Tensor, logits: Tensor, of_labels: Tensor) -> Tensor:
        """The loss with respect to labels and teacher, a scalar.

        Args:
            images: The batch.
            logits: (N, K) of the student.
            of_labels: The loss with respect to the labels.
        """
        T = self._temperature
        target = (self.logits(images) / T).softmax(dim=1)
        # Times T^2, since the gradient of the softened targets falls with it (section 2).
        soft = T**2 * F.kl_div((logits.float() / T).log_softmax(dim=1), target, reduction="batchmean")
        return (1 - self._weight) * of_labels + self._weight * soft

    def _inputs(self, images: Tensor) -> Tensor:
        ours, theirs = self._student, self.model.preprocess
        if (ours.mean, ours.std, ours.input_size) == (theirs.mean, theirs.std, theirs.input_size):
            return theirs.finish(images)
        pixels = ours.denormalize(ours.finish(images))
        if ours.input_size != theirs.input_size:
            size = list(theirs.input_size)
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        return theirs.normalize(pixels)
