"""The network of DiffusionGS in PyTorch, written from its published description, to time ours beside it.

Patches of pictures and rays become tokens; blocks modulated by the timestep (adaLN) with fused attention; one linear
layer to the channels of the Gaussians. No rendering: what is compared is the transformer's training step.
"""

import math
from collections.abc import Callable
from typing import Any

from diffgs_jax.models.diffusion_gs import NetworkConfig


def make_torch_step(config: NetworkConfig, batch: int, views: int, resolution: int, threads: int) -> Callable[[], Any]:
    """Returns one training step (forward, backward, AdamW) of a network of equal size; it returns when it is done.

    Args:
        config: of the network; `modulation` and `dtype` are followed.
        batch: samples.
        views: of a sample.
        resolution: height and width, pixels.
        threads: that PyTorch may use on a CPU.

    Raises:
        ImportError: if PyTorch is not installed.
    """
    import torch  # ty: ignore (optional)
    from torch import nn  # ty: ignore (optional)
    from torch.nn import functional  # ty: ignore (optional)

    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    width, channels = config.width, 9 + config.condition_channel
    outputs = (config.patch_size // config.stride) ** 2 * (11 + 3 * (config.sh_degree + 1) ** 2)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
            self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, config.mlp_ratio * width), nn.Linear(config.mlp_ratio * width, width)
            self.modulation = nn.Linear(width, 6 * width) if config.modulation == "block" else None

        def forward(self, x: Any, signal: Any) -> Any:
            signal = signal if self.modulation is None else self.modulation(signal)
            shift1, scale1, gate1, shift2, scale2, gate2 = signal[:, None].chunk(6, dim=-1)
            tokens = self.first(x) * (1 + scale1) + shift1
            query, key, value = self.qkv(tokens).unflatten(-1, (3, config.heads, -1)).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(query, key, value)
            x = x + gate1 * self.projection(attended.transpose(1, 2).flatten(2))
            tokens = self.second(x) * (1 + scale2) + shift2
            return x + gate2 * self.down(functional.gelu(self.up(tokens), approximate="tanh"))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = nn.Linear(config.patch_size**2 * channels, width)
            self.free = nn.Parameter(torch.randn(config.free_gaussians, width) * 0.02)
            self.timestep = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
            self.shared = nn.Linear(width, 6 * width) if config.modulation == "shared" else None
            self.blocks = nn.ModuleList(Block() for _ in range(config.layers))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

        def forward(self, patches: Any, sinusoids: Any) -> Any:
            condition = self.timestep(sinusoids)
            signal = condition if self.shared is None else self.shared(condition)
            tokens = torch.cat([self.free.expand(len(patches), -1, -1), self.tokenizer(patches)], dim=1)
            for block in self.blocks:
                tokens = block(tokens, signal)
            return self.head(self.norm(tokens))

    network = Network().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=device == "cuda")
    tokens = views * (resolution // config.patch_size) ** 2
    patches = torch.randn(batch, tokens, config.patch_size**2 * channels, device=device)
    angles = torch.rand(batch, 1, device=device) * torch.exp(torch.linspace(0, -math.log(1e4), 128, device=device))
    sinusoids = torch.cat([angles.sin(), angles.cos()], dim=-1)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = network(patches, sinusoids).float().square().mean()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step
