"""A fitted model on whole images of any size: a map of class scores, whose mean is the score of the image.

On an image of the size of a crop the map has one place, with the ordinary scores. On a larger one its places are the
windows of the feature maps that are as large as those of a crop. A fully connected layer that is applied to every
window is a convolution with the same weights (Simonyan & Zisserman 2015, section 3.2; Sermanet 2014, section 3.5), so
that fc6 of a VGG is one of 7 x 7, fc7 and the classifier of 1 x 1.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from transferkit.backbones.last_blocks import count_in_name
from transferkit.backbones.stage_sequence import State, feature
from transferkit.device import autocast
from transferkit.errors import TransferkitError
from transferkit.features.frozen_network import FrozenStages
from transferkit.models.transfer_model import TransferModel

FINEST = 8
"""Pixels between windows at least; a head on an early stage would have thousands of them."""

LARGER = 256
"""Pixels that are added to the crop to measure the strides."""

Grid = tuple[int, int]


class DenseNetwork:
    """Class probabilities of whole images, or what else the model's target says.

    Args:
        model: In eval mode; it is not changed.
        average: "scores" for the soft-max of the mean of the map of class scores, as the paper describes it;
            "probabilities" for the mean of the soft-max of each place. Of networks whose map is pooled before the
            head, "scores" pools the whole map, which for the mean is a 1 x 1 convolution by the head and then the mean.
        device: Where.
        precision: As `find_precision` returns it.

    Raises:
        TransferkitError: The network takes images of one size only.
    """

    def __init__(self, model: TransferModel, average: str, device: torch.device, precision: str) -> None:
        _refuse_tokens(model)
        self._model, self._average = model, average
        self._device, self._precision = device, precision
        self._frozen = FrozenStages(model.backbone.truncate(model.stages[-1]), device, precision)
        backbone = self._frozen.backbone
        vectors = [name for name in backbone.stage_names if backbone.info(name).kind == "vector"]
        self._after = list(backbone.stage_names[backbone.stage_names.index(vectors[0]) :]) if vectors else []
        maps = [name for name in backbone.stage_names if name not in self._after]
        self._maps = [name for name in maps if name in model.stages or (self._after and name == maps[-1])]
        self._grids, self._strides = self._measure()

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the outputs (N, K), on the CPU, of uint8 images (N, 3, H, W) of one size."""
        maps = self._states(images)
        if self._average == "scores" and not self._after:
            pooled = [self._pooled(name, feature(maps[name])) for name in self._model.stages]
            return self._model.target.outputs(self._scores(pooled))
        scores = [self._scores(self._vectors(window)) for window in self._windows(maps)]
        outputs = self._model.target.outputs
        if self._average == "scores":
            return outputs(torch.stack(scores).mean(0))
        return torch.stack([outputs(one) for one in scores]).mean(0)

    def _scores(self, pooled: Sequence[Tensor]) -> Tensor:
        """The class scores (N, K) of the stages' vectors."""
        scores: Tensor = self._model.head(torch.cat([part.cpu() for part in pooled], dim=1))
        return scores

    def _pooled(self, name: str, h: Tensor) -> Tensor:
        return self._frozen.backbone.pooled(name, h.float(), self._model.pool)

    def _vectors(self, window: Mapping[str, Tensor]) -> list[Tensor]:
        """The vectors of the model's stages for one window of each map."""
        found = {name: self._pooled(name, h) for name, h in window.items() if name in self._model.stages}
        state: State = window[self._maps[-1]]
        with autocast(self._precision, self._device):
            for name in self._after:
                state = self._frozen.backbone.stages[name](state)
                found[name] = self._pooled(name, feature(state))
        return [found[name] for name in self._model.stages]

    def _windows(self, maps: Mapping[str, State]) -> list[dict[str, Tensor]]:
        """The windows of the maps that lie at the same place of the image, row by row."""
        between = max(FINEST, *self._strides.values())
        steps = {name: max(1, between // stride) for name, stride in self._strides.items()}
        h = _features(maps)
        rows, columns = (
            min((h[name].shape[2 + side] - self._grids[name][side]) // steps[name] + 1 for name in h) for side in (0, 1)
        )
        places = [(row, column) for row in range(rows) for column in range(columns)]
        return [
            {name: _window(h[name], row * steps[name], column * steps[name], self._grids[name]) for name in h}
            for row, column in places
        ]

    def _states(self, images: Tensor) -> dict[str, State]:
        """The outputs of the stages of maps that are needed."""
        try:
            return self._frozen(images, self._maps)
        except Exception as error:  # of many kinds: whatever the network asserts or cannot multiply
            name, size = self._model.backbone.spec.name, " x ".join(map(str, images.shape[2:]))
            raise _not_dense(
                f"{name} cannot take images of {size} pixels ({str(error).splitlines()[0][:200]})"
            ) from None

    def _measure(self) -> tuple[dict[str, Grid], dict[str, int]]:
        """The grid of each map for a crop, and its stride: by how much it grows with the image."""
        height, width = self._model.preprocess.input_size
        grids: list[dict[str, Grid]] = []
        for more in (0, LARGER):
            states = self._states(torch.zeros(1, 3, height + more, width + more, dtype=torch.uint8))
            if self._after and isinstance(states[self._maps[-1]], tuple):
                raise _not_dense(f"several tensors leave {self._maps[-1]} of {self._model.backbone.spec.name}")
            grids.append({name: (h.shape[2], h.shape[3]) for name, h in _features(states).items()})
        strides = {}
        for name, (rows, _) in grids[0].items():
            grown = grids[1][name][0] - rows
            if grown <= 0:
                raise _not_dense(f"{name} of {self._model.backbone.spec.name} has the same size for every image")
            strides[name] = round(LARGER / grown)
        return grids[0], strides


def _features(states: Mapping[str, State]) -> dict[str, Tensor]:
    return {name: feature(state) for name, state in states.items()}


def _window(h: Tensor, top: int, left: int, grid: Grid) -> Tensor:
    return h[:, :, top : top + grid[0], left : left + grid[1]]


def _refuse_tokens(model: TransferModel) -> None:
    """Refuse networks whose features are tokens: their position embeddings are those of one size of image."""
    backbone = model.backbone.truncate(model.stages[-1])
    kinds = [backbone.info(name).kind for name in backbone.stage_names]
    if "tokens" in kinds or any(map(count_in_name, model.stages)):
        raise _not_dense(f"the position embeddings of {backbone.spec.name} are those of one size of image")


def _not_dense(why: str) -> TransferkitError:
    return TransferkitError(f"protocol=dense does not go with this network: {why}. ten_crop and multi_crop do.")
