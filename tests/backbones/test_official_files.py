"""Checkpoints of DINOv2 and CLIP as their authors publish them, against the authors' forward pass in plain PyTorch."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from transferkit.backbones.create import create_backbone
from transferkit.backbones.stage_sequence import feature
from transferkit.backbones.weights import read_state_dict
from transferkit.errors import TransferkitError

WIDTH, DEPTH, HEADS = 48, 4, 3
TINY = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}


def dinov2_file(registers: int, side: int) -> dict[str, Tensor]:
    """The names and shapes of dinov2_vits14[_reg4]_pretrain.pth, with random values and a small width."""
    block = {
        **{f"{norm}.{key}": (WIDTH,) for norm in ("norm1", "norm2") for key in ("weight", "bias")},
        **{"attn.qkv.weight": (3 * WIDTH, WIDTH), "attn.qkv.bias": (3 * WIDTH,)},
        **{
            "attn.proj.weight": (WIDTH, WIDTH),
            "attn.proj.bias": (WIDTH,),
            "ls1.gamma": (WIDTH,),
            "ls2.gamma": (WIDTH,),
        },
        **{"mlp.fc1.weight": (4 * WIDTH, WIDTH), "mlp.fc1.bias": (4 * WIDTH,)},
        **{"mlp.fc2.weight": (WIDTH, 4 * WIDTH), "mlp.fc2.bias": (WIDTH,)},
    }
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + side**2, WIDTH),
        **({"register_tokens": (1, registers, WIDTH)} if registers else {}),
        **{"mask_token": (1, WIDTH), "patch_embed.proj.weight": (WIDTH, 3, 14, 14), "patch_embed.proj.bias": (WIDTH,)},
        **{f"blocks.{n}.{key}": shape for n in range(DEPTH) for key, shape in block.items()},
        **{"norm.weight": (WIDTH,), "norm.bias": (WIDTH,)},
    }
    generator = torch.Generator().manual_seed(0)
    return {key: 0.2 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def dinov2(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The normalised tokens: class token, registers, patches (facebookresearch/dinov2, vision_transformer.py)."""
    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    x = torch.cat([state["cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    x = x + state["pos_embed"]
    if "register_tokens" in state:
        x = torch.cat([x[:, :1], state["register_tokens"].expand(len(images), -1, -1), x[:, 1:]], dim=1)
    for n in range(DEPTH):
        own = {key.split(".", 2)[2]: value for key, value in state.items() if key.startswith(f"blocks.{n}.")}
        h = F.layer_norm(x, (WIDTH,), own["norm1.weight"], own["norm1.bias"], 1e-6)
        qkv = F.linear(h, own["attn.qkv.weight"], own["attn.qkv.bias"]).reshape(*x.shape[:2], 3, HEADS, -1)
        h = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2)
        x = x + own["ls1.gamma"] * F.linear(h, own["attn.proj.weight"], own["attn.proj.bias"])
        h = F.layer_norm(x, (WIDTH,), own["norm2.weight"], own["norm2.bias"], 1e-6)
        h = F.gelu(F.linear(h, own["mlp.fc1.weight"], own["mlp.fc1.bias"]))
        x = x + own["ls2.gamma"] * F.linear(h, own["mlp.fc2.weight"], own["mlp.fc2.bias"])
    return F.layer_norm(x, (WIDTH,), state["norm.weight"], state["norm.bias"], 1e-6)


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2(registers: int, tmp_path: Path) -> None:
    state = dinov2_file(registers, side=4)
    torch.save(state, tmp_path / "dinov2_pretrain.pth")
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    backbone = create_backbone(name, tmp_path / "dinov2_pretrain.pth", "timm", kwargs=TINY, input_size=56)
    images = torch.randn(2, 3, 56, 56)
    tokens = dinov2(state, images)
    with torch.inference_mode():
        stage5 = feature(backbone.forward_stages(images, ["stage5"])["stage5"])
    torch.testing.assert_close(stage5, tokens, rtol=1e-4, atol=1e-4)
    assert backbone.infos["stage5"].prefix_tokens == 1 + registers
    # What DINOv2's linear evaluation takes: the class token beside the mean of the patch tokens.
    expected = torch.cat([tokens[:, 0], tokens[:, 1 + registers :].mean(dim=1)], dim=1)
    torch.testing.assert_close(backbone.pooled("stage5", stage5, "cls+avg"), expected, rtol=1e-4, atol=1e-4)


class Block(nn.Module):
    """openai/CLIP, model.py: ResidualAttentionBlock."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.mlp: Any = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(WIDTH, 4 * WIDTH), gelu=nn.Identity(), c_proj=nn.Linear(4 * WIDTH, WIDTH))
        )
        self.ln_2 = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        h = self.mlp.c_fc(self.ln_2(x))
        widened: Tensor = self.mlp.c_proj(h * torch.sigmoid(1.702 * h))
        return x + widened


class Visual(nn.Module):
    """openai/CLIP, model.py: VisionTransformer."""

    def __init__(self, side: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, WIDTH))
        self.ln_pre = nn.LayerNorm(WIDTH)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.ln_post = nn.LayerNorm(WIDTH)
        self.proj = nn.Parameter(torch.randn(WIDTH, out))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        x = self.ln_pre(x).permute(1, 0, 2)
        resblocks: Any = self.transformer.resblocks
        x = self.ln_post(resblocks(x).permute(1, 0, 2)[:, 0])
        return x, x @ self.proj


class Clip(nn.Module):
    """The image side, and some parameters of the text side, which the file has too."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual(side=4, out=10)
        self.positional_embedding = nn.Parameter(torch.randn(7, 8))
        self.text_projection = nn.Parameter(torch.randn(8, 10))
        self.logit_scale = nn.Parameter(torch.ones(()))
        self.token_embedding = nn.Embedding(5, 8)
        self.ln_final = nn.LayerNorm(8)


@pytest.mark.parametrize("classes", [10, 1000])
def test_clip(classes: int, tmp_path: Path) -> None:
    """The layout of open_clip's and OpenAI's state dicts; OpenAI's is in half precision."""
    torch.manual_seed(0)
    clip = Clip().half().float().eval()
    for norm in (clip.visual.ln_pre, clip.visual.ln_post):
        nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    state = {key: value.half().contiguous() for key, value in clip.state_dict().items()}
    clip.load_state_dict(state)
    save_file(state, tmp_path / "open_clip_model.safetensors")
    kwargs = {**TINY, "num_classes": classes}
    backbone = create_backbone(
        *("vit_base_patch16_clip_quickgelu_224", tmp_path / "open_clip_model.safetensors", "timm"),
        kwargs=kwargs,
        input_size=64,
    )
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected, embedding = clip.visual(images)
        stage5 = feature(backbone.forward_stages(images, ["stage5"])["stage5"])
        torch.testing.assert_close(backbone.pooled("stage5", stage5), expected, rtol=1e-3, atol=1e-3)
        if classes == 10:  # of the projection's width: the classifier is the projection
            torch.testing.assert_close(feature(backbone(images)), embedding, rtol=1e-3, atol=1e-2)
    assert backbone.preprocess.mean == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)


def test_openais_archives_of_code_are_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "ViT-B-32.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(TransferkitError, match=r"ViT-B-32\.pt is a TorchScript archive.*torch\.jit\.load.*state_dict"):
        read_state_dict(tmp_path / "ViT-B-32.pt")
