"""Settings of the DiffusionGS family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion import ScheduleConfig, TimestepSampling
from diffgs_jax.geometry import RayEmbedding
from diffgs_jax.models.losses.weighting import Ramp
from diffgs_jax.rasterizer import Backend

Domain = Literal["object", "scene"]
"""What a Gaussian decoder is for. `Views.domain` holds the same as numbers: `OBJECT` = 0, `SCENE` = 1."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The transformer between the posed views and the raw parameters of the Gaussians."""

    width: int = 256
    """Features of a token."""
    layers: int = 6
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; divides the width."""
    mlp_ratio: int = 4
    """Hidden features of a block's MLP, as a multiple of the width."""
    patch_size: int = 8
    """Side of a token's patch, pixels; divides the image's height and width."""
    stride: int = 1
    """One Gaussian for each stride × stride pixels; divides the patch size. The published network has 1."""
    free_gaussians: int = 2
    """Gaussians that belong to no pixel. The published network has 2; several hundred can fill what no view shows."""
    free_per_token: int = 1
    """Free Gaussians that one learned token makes; divides their number. The published network has 1."""
    color_skip: bool = False
    """A pixel's Gaussian takes a share of the pixel's own colour, as far as one more channel says (0 at first), so that
    a colour need not be remembered through all blocks. The published network has none."""
    sh_degree: int = 0
    """Degree of the spherical harmonics of the colours, 0 to 3."""
    domains: tuple[Domain, ...] = ("object",)
    """Which Gaussian decoders there are. The trunk is shared; a decoder learns from its own domain's samples only."""
    ray_embedding: RayEmbedding = "rppc"
    """How rays enter: `rppc` = (d, o − (o·d)d), `plucker` = (o × d, d)."""
    modulation: Literal["shared", "block"] = "shared"
    """Where a block's adaLN comes from: `block`: its own projection of the timestep (published; 6·width² parameters a
    layer); `shared`: one projection for all blocks and a learned offset for each (PixArt-α, section 2.3)."""
    condition_channel: bool = True
    """Append a channel that is 1 on condition views. The published network has none and ignores the flag."""
    initialization: Literal["gated", "published"] = "gated"
    """`gated`: blocks start as the identity, Gaussians at their offsets; `published`: normal, std 0.02, everywhere."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the trunk computes in. Parameters, norms, softmax, time embedding and Gaussians are float32."""
    attention: Literal["xla", "cudnn"] = "xla"
    """`xla` runs anywhere; `cudnn` (bfloat16 on NVIDIA GPUs, elsewhere the same as `xla`) never holds a tokens × tokens
    matrix."""
    unroll: bool = False
    """Compile every block by itself instead of one in a loop: slower to compile, some 5 % faster to run on a CPU."""
    remat: bool = False
    """Recompute each block's activations in the backward pass: less memory for a third more time."""
    remat_keeps: Literal["nothing", "products"] = "nothing"
    """With `remat`, what is kept of a block beside its input: `nothing`, or `products`, the results of its matrix
    products (not attention's), which leaves only cheap work to be done again."""


@dataclasses.dataclass(frozen=True)
class DistanceLaw:
    """How far along its ray a Gaussian lies, from the decoder's output a (the mean of its three position channels)."""

    kind: Literal["reference_point", "near_far"] = "reference_point"
    """`reference_point`: u = (2σ(a) − 1)·reach − o·d; `near_far`: u = near + σ(a)(far − near)."""
    reach: float = 1.8
    """Largest distance from the ray's point nearest the origin, world units (`reference_point` only)."""
    near: float = 0.1
    """Smallest distance from the camera, world units (`near_far` only)."""
    far: float = 4.2
    """Largest distance from the camera, world units (`near_far` only)."""


@dataclasses.dataclass(frozen=True)
class GaussianConfig:
    """What the decoders' raw outputs mean. The defaults are the published ones."""

    object_distance: DistanceLaw = DistanceLaw()
    """Where an object's Gaussians lie on their rays."""
    scene_distance: DistanceLaw = DistanceLaw(kind="near_far", near=0.0, far=500.0)
    """Where a scene's Gaussians lie on their rays."""
    scale_offset: float = -2.3
    """Log of the scale at a raw output of 0: scales = exp(min(a + scale_offset, scale_limit)), world units."""
    scale_limit: float = -1.2
    """Log of the largest scale."""
    opacity_offset: float = -2.0
    """Logit of the opacity at a raw output of 0: opacities = σ(a + opacity_offset)."""
    free_spread: float = 0.0
    """Radius of a ball about the origin, world units, over which free Gaussians are spread before training, evenly and
    without chance; what the network says moves them from there. 0, all at the origin, as published."""
    clip_objects: bool = True
    """In training, clip the means of objects to [−1, 1]³, the cube that the object frame fits in."""


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
    """How views are noised in training. The network predicts the clean views (x0), noised in [0, 1] as published."""

    schedule: ScheduleConfig = ScheduleConfig()
    """The noise schedule."""
    timestep_sampling: TimestepSampling = "uniform"
    """Which timesteps are trained at: `uniform` as published, or `logit_normal`."""
    timestep_shift: float = 1.0
    """Above 1, high noise is trained more often than low."""
    scheduled_sampling: float = 0.0
    """Share of the batches in which the views that are noised are not the clean ones but what the network makes of pure
    noise, as a sampler's second step meets them, so that it learns to mend its own mistakes instead of believing them
    (scheduled sampling, Bengio et al. 2015); 0 as published. Such a batch takes a forward pass and a rendering more."""


@dataclasses.dataclass(frozen=True)
class LossSchedules:
    """What each weight of `LossConfig` is multiplied with, as training goes on."""

    denoise: Ramp = Ramp()
    """Of `denoise`."""
    novel: Ramp = Ramp()
    """Of `novel`."""
    perceptual: Ramp = Ramp()
    """Of `perceptual`."""
    ssim: Ramp = Ramp()
    """Of `ssim`."""
    alpha: Ramp = Ramp()
    """Of `alpha`."""
    depth: Ramp = Ramp()
    """Of `depth`."""


@dataclasses.dataclass(frozen=True)
class NovelPriorConfig:
    """Score distillation on novel views (RenderDiffusion, Anciukevičius et al. 2023, regularises so).

    Gaussians are rendered from cameras drawn around the object, and a frozen diffusion model of images says how the
    renderings should change (Poole et al. 2023). All numbers are our own choice.
    """

    checkpoint: str = ""
    """Folder of a trained model of images, of any family that makes images (`ddpm`), on the same background."""
    weight: float = 0.0
    """Weight of the term; 0 leaves it out, and the checkpoint unread."""
    views: int = 1
    """Renderings of a sample."""
    resolution: int = 0
    """Height and width of the renderings, pixels: what the prior was trained at; 0 takes that of the views."""
    elevations: tuple[float, float] = (0.0, 40.0)
    """Least and most elevation of the cameras, degrees; azimuths are any."""
    distance: float = 2.7
    """Of the cameras from the origin, world units."""
    fov: float = 50.0
    """Their field of view, degrees."""
    low: float = 0.02
    """Least noise, relative to the prior's schedule."""
    high: float = 0.5
    """Most noise; below the usual 0.98, because there is a picture already, and it is to be mended only."""
    step: int = 0
    """Optimizer steps before it counts, so that there is something to mend."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the loss, and how samples are drawn for it.

    `denoise` and `novel` weigh the two kinds of views, in the colour error and in every other term; the other weights
    say what a term counts beside the colour error. A term of weight 0 is not computed.
    """

    denoise: float = 1.0
    """Weight of L_de, the error on the denoised views."""
    novel: float = 1.0
    """Weight of L_nv, the same error on views the network never sees."""
    perceptual: float = 0.0
    """Weight λ of LPIPS beside the squared error. Above 0, training needs `python scripts/fetch_lpips.py`."""
    perceptual_network: Literal["vgg", "alex"] = "vgg"
    """Whose features LPIPS compares: VGG16 as published, or AlexNet, a sixth of its weights and less work."""
    perceptual_images: int = 0
    """How many of a batch's renderings LPIPS looks at, drawn anew each step, each counted for those left out; 0 takes
    all. VGG16 is most of a step's time on a CPU. Over several devices each step's draw is gathered: leave it at 0."""
    perceptual_signal_power: float = 0.0
    """p above 0 weighs a sample's LPIPS by ᾱ^p of its timestep; 0 weighs all alike, as published. In noise the best
    guess at the clean view is a mean, which is blurred, and LPIPS asks for something sharp: with p the last steps of
    sampling answer for it, and the first are left to the squared error. It is logged as weighed."""
    ssim: float = 0.0
    """Weight of 1 − SSIM."""
    alpha: float = 0.0
    """Weight of the squared error of the coverage; 0 as published."""
    depth: float = 0.0
    """Weight of the relative error of the depth |D̂ − D| / D, at pixels where the data knows it."""
    schedules: LossSchedules = LossSchedules()
    """How the weights change in the course of the training."""
    min_snr_gamma: float = 0.0
    """γ above 0 weighs a sample by min(SNR, γ) of its timestep (Hang et al. 2023, section 3.4, for the prediction of
    x0; they use 5), L_pd aside; 0 weighs all alike, as published."""
    condition_dropout: float = 0.0
    """Probability that a sample's condition views are hidden from the network, which classifier-free guidance needs
    (Ho & Salimans 2022; 0.1 is usual); 0 as published."""
    distance_warmup: int = 0
    """Steps at the start in which L_pd, on objects alone, replaces everything else."""
    distance_deviation: float = 0.5
    """σ₀ of L_pd, world units: the spread of the distances that it draws to."""
    supervised_noisy_views: int = 0
    """Noisy views of a sample that are rendered and compared, drawn anew each step; 0 takes all of them."""
    leave_out_conditions: float = 0.0
    """Probability that a sample is rendered without the Gaussians of its condition views, so that those of the views
    that are denoised must do: against models that draw everything with what they are given. 0 as published."""
    leave_out_own: float = 0.0
    """Probability that a noisy view, rendered for its own loss, is rendered without its own Gaussians, so that its
    noise cannot simply be copied into them: always (1) in IB-planes (Anciukevičius et al. 2024, arXiv 2402.03445). 0 as
    published for DiffusionGS. The noisy picture itself still reaches the other views' Gaussians through attention."""
    leave_out_own_and_conditions: bool = False
    """Where a view's own Gaussians are left out, leave those of the condition views out too. A view for which no view's
    Gaussians would be left is rendered of all of them."""
    own: float = 0.0
    """Weight of the squared error of every supervised noisy view rendered from its own Gaussians alone."""
    prior: NovelPriorConfig = NovelPriorConfig()
    """Score distillation on novel views, for data of single views."""
    log_shares: bool = False
    """Log what the denoised views' Gaussians contribute, by noise: their share of all opacity, and of the blending
    weight of renderings of which nothing was left out. Rendering carries a channel more for it."""
    views_at_once: int = 0
    """Views of a sample that are rendered together; each group is rendered again in the backward pass instead of being
    kept: less memory for more time. 0 renders all at once."""


@dataclasses.dataclass(frozen=True)
class DiffusionGSConfig:
    """A DiffusionGS model (Cai et al., ICCV 2025, arXiv 2411.14384)."""

    network: NetworkConfig = NetworkConfig()
    """The transformer."""
    gaussians: GaussianConfig = GaussianConfig()
    """What its outputs mean."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """How views are noised."""
    losses: LossConfig = LossConfig()
    """What it is trained to do."""
    condition_views: tuple[int, int] = (1, 64)
    """Least and most views that are given when the model is asked. A least of 0 goes with data of as many
    (`data.fewest_condition_views`): without any, everything is imagined."""
    background: float = 1.0
    """Grey level in [0, 1] that renderings are composited on; the data's must be the same."""
    backend: Backend = "auto"
    """Who renders: `xla` runs on any device, `triton` and `mosaic` are kernels for NVIDIA GPUs, `auto` takes what is
    proven on the device. It changes no result beyond rounding, and is no part of what a model is."""
    mirrored_world: bool = False
    """The network knows the world in the mirror only (x and y swapped), as the published object models do: it is given
    mirrored rays, and its Gaussians are mirrored back. Cameras and Gaussians outside are right-handed as ever."""
