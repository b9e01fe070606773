"""A backbone as the multi-scale maps that detectors, segmenters and decoders of captions take."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.pooling import feature_map
from transferkit.backbones.stage_sequence import feature
from transferkit.errors import TransferkitError


class FeatureMaps(nn.Module):
    """The outputs of several stages as maps, the finest first; a body for torchvision's `FeaturePyramidNetwork`.

    Args:
        backbone: Of a run (`load_model(run).backbone`) or of `create_backbone`; its parameters are shared.
        stages: Names or patterns, all before the head; of a transformer, its patch tokens in their grid.

    Attributes:
        channels: Stage to the channels of its map.
        strides: Stage to the pixels of the image per position of its map.

    Raises:
        TransferkitError: An unknown stage, or one whose output is no map.
    """

    def __init__(self, backbone: Backbone, stages: Sequence[str] = ("stage[2345]",)) -> None:
        super().__init__()
        self.names = backbone.match(stages, head=False)
        if not self.names:
            raise TransferkitError(f"stages={list(stages)} matches none of {', '.join(backbone.feature_stages)}.")
        self.infos = {name: backbone.info(name) for name in self.names}
        vectors = [name for name, info in self.infos.items() if info.grid is None]
        if vectors:
            raise TransferkitError(f"The output of {', '.join(vectors)} is a vector, not a map.")
        self.backbone = backbone.truncate(self.names[-1])
        self.channels = {name: info.channels for name, info in self.infos.items()}
        self.strides = {name: info.stride for name, info in self.infos.items()}

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Return the map (N, C, H / stride, W / stride) of each stage, of preprocessed images (N, 3, H, W)."""
        states = self.backbone.forward_stages(images, self.names)
        return OrderedDict((name, feature_map(feature(states[name]), self.infos[name])) for name in self.names)
