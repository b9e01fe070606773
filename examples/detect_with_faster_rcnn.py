"""A backbone under torchvision's Faster R-CNN: find digits on a canvas, with boxes, without a network.

Command: python examples/detect_with_faster_rcnn.py [RUN_DIR]     (RUN_DIR: a fit whose backbone is used instead)
Result: the loss falls; two thirds of the digits on new canvases are found, with their class, in half a minute.
"""

import sys

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, box_iou

import transferkit as tk

STAGES = ["stage2", "stage3", "stage4"]
CANVAS, SIDE = 96, 32


class Pyramid(nn.Module):
    """Maps of a backbone with equally many channels, as detectors of torchvision want them."""

    def __init__(self, backbone: tk.Backbone, out_channels: int = 64) -> None:
        super().__init__()
        self.maps = tk.FeatureMaps(backbone, STAGES)
        self.pyramid = FeaturePyramidNetwork(list(self.maps.channels.values()), out_channels)
        self.out_channels = out_channels  # the detector asks for this

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the pyramid's maps, finest first."""
        maps: dict[str, Tensor] = self.pyramid(self.maps(images))
        return maps


def detector(backbone: tk.Backbone) -> FasterRCNN:
    """Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017) on a backbone; class 0 is background."""
    return FasterRCNN(
        Pyramid(backbone),
        min_size=CANVAS,
        max_size=CANVAS,
        image_mean=backbone.preprocess.mean,
        image_std=backbone.preprocess.std,
        rpn_anchor_generator=AnchorGenerator(((16,), (32,), (64,)), ((1.0,),) * 3),
        box_roi_pool=MultiScaleRoIAlign(STAGES, output_size=5, sampling_ratio=2),
        box_head=TwoMLPHead(64 * 5 * 5, 128),
        box_predictor=FastRCNNPredictor(128, 11),
        rpn_post_nms_top_n_train=50,
        rpn_post_nms_top_n_test=50,
        box_batch_size_per_image=32,
    )


def scenes(images: tk.ImageSet, count: int, seed: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return canvases (3, 96, 96) with two digits each, and their boxes and labels (1 to 10)."""
    rng = np.random.default_rng(seed)
    inputs, targets = [], []
    for _ in range(count):
        canvas = torch.zeros(3, CANVAS, CANVAS)
        boxes, labels = [], []
        for half in range(2):
            image, label = images[int(rng.integers(len(images)))]
            side = int(rng.integers(SIDE // 2, SIDE + 8))
            left = half * CANVAS // 2 + int(rng.integers(0, CANVAS // 2 - side + 1))
            top = int(rng.integers(0, CANVAS - side))
            pixels = np.asarray(image.resize((side, side)), np.float32) / 255
            canvas[:, top : top + side, left : left + side] = torch.from_numpy(pixels).permute(2, 0, 1)
            boxes.append([left, top, left + side, top + side])
            labels.append(label + 1)
        inputs.append(canvas)
        targets.append({"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)})
    return inputs, targets


def found(model: FasterRCNN, inputs: list[Tensor], targets: list[dict[str, Tensor]]) -> float:
    """Return the share of digits with a box of their class, of at least half their area in common (IoU)."""
    model.eval()
    with torch.inference_mode():
        predictions = model(inputs)
    hits = [
        bool(((box_iou(box[None], p["boxes"])[0] > 0.5) & (p["labels"] == label) & (p["scores"] > 0.3)).any())
        for p, target in zip(predictions, targets, strict=True)
        for box, label in zip(target["boxes"], target["labels"], strict=True)
    ]
    return float(np.mean(hits))


def main(run: str | None = None, steps: int = 150) -> tuple[float, float, float]:
    """Train the detector; return the first and the last loss, and the share of digits found on new canvases."""
    torch.manual_seed(0)
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    backbone = tk.load_model(run).backbone if run else tk.create_backbone("narrow_resnet10", weights="resnet_glyphs")
    model = detector(backbone)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        model.train()
        loss = sum(model(*scenes(data.train, 4, seed=step)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 25 == 0 or step == steps - 1:
            print(f"step {step + 1}: loss {losses[-1]:.2f}")
    share = found(model, *scenes(data.test, 8 if steps < 10 else 50, seed=-1 % 2**32))
    print(f"{100 * share:.0f} % of the digits on new canvases are found")
    return losses[0], losses[-1], share


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
