"""Writes the golden files of Zero-1-to-3: a small network by PyTorch's own modules, and what it makes of random input.

    python scripts/zero123/make_golden.py --out tests/golden

Needs PyTorch alone. The network is put together as the published code has it (cvlab-columbia/zero123 commit 30c0c86:
U-Net of latent diffusion with 8 input channels, `cc_projection`, CLIP's image encoder of the `clip` package, dropout
rule), at a small size, and its state dict has the published names. `zero123.ckpt` is written by `torch.save` as a
training checkpoint is, with weights in half precision; `zero123.npz` has inputs and float32 outputs.
"""

import argparse
import math
import pathlib
from typing import Any

import numpy as np
import torch  # ty: ignore (optional)
import torch.nn.functional as F  # ty: ignore (optional)
from torch import nn  # ty: ignore (optional)

LATENTS, CHANNELS, WIDTH = 4, (32, 64), 24
CLIP_WIDTH, CLIP_HEAD, CLIP_PATCH, CLIP_GRID, CLIP_LAYERS = 16, 8, 4, 3, 2


class ResidualBlock(nn.Module):
    """`ResBlock` of latent diffusion."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(told, outputs))
        last = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(32, outputs), nn.SiLU(), nn.Dropout(0.0), last)
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Any, told: Any, token: Any) -> Any:
        """Returns the image after the block."""
        hidden = self.in_layers(x) + self.emb_layers(told)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(hidden)


class Attention(nn.Module):
    """`CrossAttention`, by PyTorch's own product."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(inputs, width, bias=False) for inputs in (width, context, context))
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: Any, context: Any) -> Any:
        """Returns what tokens take from a context; 8 heads, as Stable Diffusion 1 has."""
        heads = [
            of.unflatten(-1, (8, -1)).transpose(1, 2) for of in (self.to_q(x), self.to_k(context), self.to_v(context))
        ]
        return self.to_out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class GatedLinear(nn.Module):
    """`GEGLU`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Any) -> Any:
        """Returns one half through the other's GELU."""
        hidden, gate = self.proj(x).chunk(2, dim=-1)
        return hidden * F.gelu(gate)


class TransformerBlock(nn.Module):
    """`BasicTransformerBlock`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn1, self.attn2 = Attention(width, width), Attention(width, WIDTH)
        self.ff = nn.Module()
        self.ff.net = nn.Sequential(GatedLinear(width), nn.Dropout(0.0), nn.Linear(4 * width, width))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Any, token: Any) -> Any:
        """Returns the tokens after the block."""
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x), token)
        return x + self.ff.net(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer on the pixels of an image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(2))
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width)])

    def forward(self, x: Any, told: Any, token: Any) -> Any:
        """Returns the image after the block."""
        hidden = self.proj_in(self.norm(x))
        tokens = self.transformer_blocks[0](hidden.flatten(2).transpose(1, 2), token)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))


class Down(nn.Module):
    """`Downsample`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Any, told: Any, token: Any) -> Any:
        """Returns the image at half the size."""
        return self.op(x)


class Up(nn.Module):
    """`Upsample`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Any, told: Any, token: Any) -> Any:
        """Returns the image at twice the size."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """`UNetModel` of two levels with one residual block each; the first has transformers, and so has the middle."""

    def __init__(self) -> None:
        super().__init__()
        a, b = CHANNELS
        told = 4 * a
        self.time_embed = nn.Sequential(nn.Linear(a, told), nn.SiLU(), nn.Linear(told, told))

        def block(*parts: nn.Module) -> nn.ModuleList:
            return nn.ModuleList(parts)

        def residual(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, told)

        self.input_blocks = block(
            block(nn.Conv2d(2 * LATENTS, a, 3, padding=1)),
            block(residual(a, a), SpatialTransformer(a)),
            block(Down(a)),
            block(residual(a, b)),
        )
        self.middle_block = block(residual(b, b), SpatialTransformer(b), residual(b, b))
        self.output_blocks = block(
            block(residual(b + b, b)),
            block(residual(b + a, b), Up(b)),
            block(residual(b + a, a), SpatialTransformer(a)),
            block(residual(a + a, a), SpatialTransformer(a)),
        )
        self.out = nn.Sequential(nn.GroupNorm(32, a), nn.SiLU(), nn.Conv2d(a, LATENTS, 3, padding=1))

    def forward(self, x: Any, timesteps: Any, token: Any) -> Any:
        """Returns the predicted noise."""
        half = CHANNELS[0] // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = timesteps[:, None].float() * rates[None]
        told = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=-1))

        def run(parts: Any, x: Any) -> Any:
            for part in parts:
                x = part(x) if isinstance(part, nn.Conv2d) else part(x, told, token)
            return x

        left = []
        for parts in self.input_blocks:
            x = run(parts, x)
            left.append(x)
        x = run(self.middle_block, x)
        for parts in self.output_blocks:
            x = run(parts, torch.cat([x, left.pop()], dim=1))
        return self.out(x)


class ImageEncoder(nn.Module):
    """`VisionTransformer` of the `clip` package."""

    def __init__(self) -> None:
        super().__init__()
        width = CLIP_WIDTH
        self.conv1 = nn.Conv2d(3, width, CLIP_PATCH, stride=CLIP_PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(CLIP_GRID**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList([self._block(width) for _ in range(CLIP_LAYERS)])
        self.proj = nn.Parameter(torch.randn(width, WIDTH) * width**-0.5)

    @staticmethod
    def _block(width: int) -> nn.Module:
        block = nn.Module()
        block.attn = nn.MultiheadAttention(width, width // CLIP_HEAD, batch_first=True)
        block.ln_1, block.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        block.mlp = nn.Module()
        block.mlp.c_fc, block.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        return block

    def forward(self, images: Any) -> Any:
        """Returns a vector for each picture in [−1, 1], of any size."""
        side = CLIP_GRID * CLIP_PATCH
        x = F.interpolate(images, (side, side), mode="bicubic", align_corners=True, antialias=False)
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[None, :, None, None]
        deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[None, :, None, None]
        x = self.conv1(((x + 1) / 2 - mean) / deviation).flatten(2).transpose(1, 2)
        first = self.class_embedding[None, None].expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        for block in self.transformer.resblocks:
            normed = block.ln_1(x)
            x = x + block.attn(normed, normed, normed, need_weights=False)[0]
            hidden = block.mlp.c_fc(block.ln_2(x))
            x = x + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))
        return self.ln_post(x[:, 0]) @ self.proj


def spherical(position: Any) -> Any:
    """Returns polar angle, azimuth and radius, as the published data loader has them."""
    flat = position[0] ** 2 + position[1] ** 2
    radius = np.sqrt(flat + position[2] ** 2)
    return np.array([np.arctan2(np.sqrt(flat), position[2]), np.arctan2(position[1], position[0]), radius])


def told_of(target: Any, given: Any) -> list[float]:
    """Returns what the network is told of two positions of cameras."""
    polar, azimuth, radius = spherical(target) - spherical(given)
    azimuth = azimuth % (2 * math.pi)
    return [polar, math.sin(azimuth), math.cos(azimuth), radius]


def main(out: pathlib.Path) -> None:
    """Writes both files."""
    torch.manual_seed(0)
    unet, encoder, projection = UNet(), ImageEncoder(), nn.Linear(WIDTH + 4, WIDTH)
    parts = {"model.diffusion_model.": unet, "cond_stage_model.model.visual.": encoder, "cc_projection.": projection}
    for module in parts.values():
        for weight in module.parameters():
            if weight.ndim == 1:  # norms and biases as random as the rest
                weight.data += 0.1 * torch.randn_like(weight)
            weight.data = weight.data.half().float()
    state = {prefix + name: value.half() for prefix, part in parts.items() for name, value in part.state_dict().items()}
    # What a training checkpoint has beside them, and importing leaves out
    state |= {"betas": torch.ones(3), "model_ema.decay": torch.tensor(0.9), "first_stage_model.x": torch.ones(1)}
    state |= {"cond_stage_model.model.logit_scale": torch.tensor(1.0)}
    torch.save({"epoch": 1, "global_step": 2, "state_dict": state}, out / "zero123.ckpt")

    random = np.random.default_rng(0)
    count, side, pixels, p = 8, 8, 20, 0.05
    given, targets = random.normal(size=(count, 3)), random.normal(size=(count, 3))
    latents, picture = torch.randn(count, LATENTS, side, side), torch.randn(count, LATENTS, side, side)
    images, timesteps = 2 * torch.rand(count, 3, pixels, pixels) - 1, torch.randint(0, 1000, (count,))
    u = torch.tensor([0.0, 0.049, 0.05, 0.09, 0.1, 0.149, 0.15, 0.9])
    told = torch.tensor([told_of(a, b) for a, b in zip(targets, given, strict=True)], dtype=torch.float32)
    with torch.no_grad():
        features = encoder(images)
        token = projection(torch.cat([features, told], dim=-1))
        whole = unet(torch.cat([latents, picture], dim=1), timesteps, token[:, None])
        null = unet(torch.cat([latents, torch.zeros_like(picture)], dim=1), timesteps, torch.zeros_like(token)[:, None])
        # The published rule: one number for both conditions
        hides_features = u[:, None] < 2 * p
        shows_picture = 1 - ((u >= p).float() * (u < 3 * p).float())[:, None, None, None]
        dropped_token = projection(
            torch.cat([torch.where(hides_features, torch.zeros_like(features), features), told], -1)
        )
        dropped = unet(torch.cat([latents, shows_picture * picture], dim=1), timesteps, dropped_token[:, None])
    arrays = {
        "given": given,
        "targets": targets,
        "latents": latents,
        "picture": picture,
        "images": images,
        "timesteps": timesteps,
        "u": u,
        "told": told,
        "features": features,
        "token": token,
        "out": whole,
        "out_null": null,
        "out_dropped": dropped,
    }
    plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(out / "zero123.npz", **plain)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the two files")
    main(parser.parse_args().out)
