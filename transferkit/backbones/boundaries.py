"""Tables of cuts, for networks whose canonical stages neither timm's feature information nor the automatic rule finds.

A table maps a stage to the module that ends it. Networks that are not here are cut by `transferkit.backbones.cut`.
"""

from torch import nn

_RESNET = {"stage1": "relu", "stage2": "layer1", "stage3": "layer2", "stage4": "layer3", "stage5": "layer4"}

_ALEXNET = {
    "stage2": "features.norm1",
    "stage3": "features.norm2",
    "stage4": "features.relu3",
    "stage5": "features.pool3",
}
_FC = {"fc6": "classifier.relu6", "fc7": "classifier.relu7"}

TABLES: dict[str, dict[str, str]] = {
    "torchvision.models.resnet.ResNet": _RESNET,
    # No stride-2 map: conv1 has stride 4. The poolings open the stages, as the paper's layers do.
    "torchvision.models.alexnet.AlexNet": {
        "stage2": "features.1",
        "stage3": "features.4",
        "stage4": "features.7",
        "stage5": "features.12",
        "fc6": "classifier.2",
        "fc7": "classifier.5",
    },
    "torchvision.models.googlenet.GoogLeNet": {
        "stage1": "conv1",
        "stage2": "conv3",
        "stage3": "inception3b",
        "stage4": "inception4e",
        "stage5": "inception5b",
    },
    # The last relu is a function in `forward`: torch.fx names it "relu".
    "torchvision.models.densenet.DenseNet": {
        "stage1": "features.relu0",
        "stage2": "features.denseblock1",
        "stage3": "features.denseblock2",
        "stage4": "features.denseblock3",
        "stage5": "relu",
    },
    "transferkit.backbones.classic.AlexNet": {
        "stage2": "features.norm1",
        "stage3": "features.norm2",
        "stage4": "features.relu3",
        "stage5": "features.pool3",
        **_FC,
    },
    # conv1 and conv2 have stride 2, each with a pooling after it, which opens the next stage: no map ends at stride 4.
    "transferkit.backbones.classic.ZFNet": {
        "stage1": "features.relu1",
        "stage3": "features.relu2",
        "stage4": "features.relu3",
        "stage5": "features.pool3",
        **_FC,
    },
    "transferkit.backbones.classic.VGG": {f"stage{number}": f"features.pool{number}" for number in range(1, 6)} | _FC,
    "transferkit.backbones.classic.LeNet5": {
        "stage1": "features.tanh2",
        "stage2": "features.tanh4",
        "fc6": "classifier.tanh5",
        "fc7": "classifier.tanh6",
    },
    # The pooling after conv1 opens the next stage, which would have no parameters otherwise.
    "torchvision.models.shufflenetv2.ShuffleNetV2": {
        "stage1": "conv1",
        "stage3": "stage2",
        "stage4": "stage3",
        "stage5": "conv5",
    },
    # The classifier is a convolution on the last map, so the automatic rule would take it into the last stage.
    "torchvision.models.squeezenet.SqueezeNet": {
        "stage1": "features.1",
        "stage2": "features.4",
        "stage3": "features.7",
        "stage4": "features.12",
    },
}

_VGG_FC = {
    "torchvision.models.vgg.VGG": {"fc6": "classifier.1", "fc7": "classifier.4"},
    "timm.models.vgg.VGG": {"fc6": "pre_logits.act1", "fc7": "pre_logits.act2"},
}


def cut_table(model: nn.Module) -> dict[str, str] | None:
    """Stage to the name of the module that ends it, or None if no table knows this class of network."""
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind in _VGG_FC:
        # Every convolution block ends with its max-pool, so that stage K has stride 2**K and parameters of its own.
        features = model.get_submodule("features")
        pools = [f"features.{name}" for name, module in features.named_children() if isinstance(module, nn.MaxPool2d)]
        return {f"stage{number}": pool for number, pool in enumerate(pools, start=1)} | _VGG_FC[kind]
    return TABLES.get(kind)
