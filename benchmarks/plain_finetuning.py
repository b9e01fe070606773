"""Finetuning in plain torch, as a careful user writes it: the rival of the strategies on small data.

From the head of scikit-learn's logistic regression: AdamW with a one-cycle schedule, batch norm frozen, a random part
of each image, mirrored half of the time, 150 steps or five epochs, and the weights of the last step.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torchvision.transforms import v2

from benchmarks.speed.clock import torch_as_imported
from transferkit.arrays import Probabilities
from transferkit.backbones.backbone import Backbone
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.device import autocast

CPU = torch.device("cpu")
STEPS, EPOCHS, BATCH = 150, 5, 32
BODY_RATE, HEAD_RATE = 2e-4, 3e-4
TRAINED = {"plain_few": 1, "plain_many": 3, "plain_full": None}
"""How many of the last stages are trained; None: all."""


class Plain(nn.Module):
    """The stages one after the other, the network's own pooling, and a linear layer."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone.truncate(backbone.top))
        self.head = nn.Linear(backbone.width(backbone.top), classes)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (N, D) of images (N, 3, H, W)."""
        top = self.backbone.top
        return self.backbone.pooled(top, self.backbone(images).float())

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


@torch_as_imported()
def finetune(
    backbone: Backbone, train: ImageSet, test: ImageSet, classes: int, last: int | None, seed: int, precision: str
) -> Probabilities:
    """Train the last stages and the head; return the probabilities (N_test, K) of the test images.

    Args:
        backbone: Not changed.
        train: All labelled images: nothing is held out, since nothing is chosen.
        test: The test images.
        classes: K.
        last: Number of the last stages to train; None for all.
        seed: Of the order and of the augmentation.
        precision: Of matrix products, "fp32" or "bf16".
    """
    torch.manual_seed(seed)
    model = Plain(backbone, classes).to(memory_format=torch.channels_last).eval()  # eval: frozen batch norm
    names = backbone.feature_stages
    trained = names if last is None else names[-last:]
    for name in names:
        model.backbone.stages[name].requires_grad_(name in trained)
    start_head(model, load(train, backbone.preprocess), torch.from_numpy(train.labels), precision)
    groups = [
        {"params": [p for p in model.backbone.parameters() if p.requires_grad], "lr": BODY_RATE},
        {"params": list(model.head.parameters()), "lr": HEAD_RATE},
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = max(STEPS, EPOCHS * len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [BODY_RATE, HEAD_RATE], total_steps=steps)
    images, labels = enlarged(train, backbone.preprocess), torch.from_numpy(train.labels)
    augment = v2.Compose(
        [v2.RandomResizedCrop(backbone.preprocess.input_size, scale=(0.6, 1.0)), v2.RandomHorizontalFlip()]
    )
    for rows in batches(len(train), steps):
        inputs = backbone.preprocess.finish(torch.stack([augment(images[i]) for i in rows.tolist()]))
        optimizer.zero_grad()
        with autocast(precision, CPU):
            features = model.features(inputs.contiguous(memory_format=torch.channels_last))
        F.cross_entropy(model.head(features), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return predict(model, load(test, backbone.preprocess), precision)


def start_head(model: Plain, images: Tensor, labels: Tensor, precision: str) -> None:
    """Fit the head by logistic regression on the features of the training images."""
    with torch.no_grad(), autocast(precision, CPU):
        features = torch.cat([model.features(part) for part in finished(model, images)]).numpy()
    fitted = LogisticRegression(max_iter=1000).fit(features, labels.numpy())
    coef, intercept = fitted.coef_, fitted.intercept_
    if len(coef) == 1:  # two classes
        coef, intercept = np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(coef))
        model.head.bias.copy_(torch.from_numpy(intercept))


def predict(model: Plain, images: Tensor, precision: str) -> Probabilities:
    """Probabilities (N, K) of uint8 images."""
    with torch.no_grad(), autocast(precision, CPU):
        found = torch.cat([model(part).float().softmax(1) for part in finished(model, images)])
    probabilities: Probabilities = found.numpy()
    return probabilities


def finished(model: Plain, images: Tensor) -> Sequence[Tensor]:
    """Normalised batches of uint8 images."""
    parts: Sequence[Tensor] = images.split(BATCH)  # type: ignore[no-untyped-call]
    finish = model.backbone.preprocess.finish
    return [finish(part).contiguous(memory_format=torch.channels_last) for part in parts]


def load(images: ImageSet, preprocess: Preprocessing) -> Tensor:
    """The images as the network tests them: (N, 3, H, W), uint8."""
    return torch.stack([preprocess.pixels(images.image(i)) for i in range(len(images))])


def enlarged(images: ImageSet, preprocess: Preprocessing) -> list[Tensor]:
    """The images whole, (3, h, w) uint8, of the size from which the crop is taken."""
    resize = v2.Compose([v2.Resize(preprocess.resize_size[0], antialias=True), v2.PILToTensor()])
    return [resize(images.image(i)) for i in range(len(images))]


def batches(images: int, steps: int) -> list[Tensor]:
    """Rows of each batch, in random passes over the images."""
    passes = -(-steps * min(BATCH, images) // images) + 1
    order = torch.cat([torch.randperm(images) for _ in range(passes)])
    size = min(BATCH, images)
    return [order[i * size : (i + 1) * size] for i in range(steps)]
