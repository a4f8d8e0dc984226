"""What a denoiser of splats is steered by: pictures of the first view, of maps or of the splat that views make."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models.bundles import Frozen
from diffgs_jax.models.capabilities import Controlled
from diffgs_jax.models.control_pictures import ControlMap, depth_picture, edges_of, normal_picture, splat_picture
from diffgs_jax.models.diffsplat.config import DiffSplatConfig, network_settings
from diffgs_jax.models.diffsplat.splats import world_cameras
from diffgs_jax.models.family import family
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.stored import StoredModel


def controlled_network(config: DiffSplatConfig) -> Controlled:
    """Returns what ControlNets steer.

    Raises:
        UserError: if it is no U-Net, or is shown a view.
    """
    settings = network_settings(config)
    if not isinstance(settings, LatentUNetConfig):
        raise UserError(f"ControlNets steer U-Nets only (sd15, sd21, sdxl), and this model's base is {config.backbone}")
    if config.image.encoder != "none":
        raise UserError("ControlNets steer models of prompts alone, and this one is shown a view")
    return Controlled(settings, config.latents.downsampling)


def control_turn(config: DiffSplatConfig, frozen: Frozen, cameras: Cameras) -> Float[Array, "b 3 3"]:
    """Returns the turns from the axes of the first of the cameras `[b, v]` to the reconstructor's world."""
    return jnp.asarray(world_cameras(frozen, cameras).camera_to_world)[:, 0, :3, :3]


def control_picture(
    config: DiffSplatConfig, frozen: Frozen, views: Views, kind: ControlMap, source: Literal["records", "splat"]
) -> Float[Array, "b h w 3"]:
    """Returns the picture of the first view of each object: see `TakesControls`."""
    size = views.images.shape[2]
    if source == "splat":
        model: StoredModel = frozen["reconstructor"]
        module = family(model.config)
        grids = module.grids(model.config, model.params, model.frozen, views)
        gaussians = module.grid_gaussians(model.config, grids, views.cameras)
        camera = Cameras(*(jnp.asarray(leaf)[:, 0] for leaf in views.cameras))
        settings = module.requirements(model.config).rendering
        turn = control_turn(config, frozen, views.cameras)
        return splat_picture(kind, gaussians, camera, turn, settings, size=size, backend=config.backend)
    if kind == "canny":
        images = jnp.asarray(views.images)[:, 0]
        return edges_of(jax.image.resize(images, (len(images), 2 * size, 2 * size, 3), "linear"), size)
    values = views.depths if kind == "depth" else views.normals
    if values is None or views.alphas is None:
        raise UserError(f"control pictures of {kind} need views with such maps and coverage")
    alpha = jnp.asarray(views.alphas)[:, 0]
    if kind == "depth":
        return depth_picture(jnp.asarray(values)[:, 0], alpha)
    # Normals are in the world of the views
    pose = jnp.asarray(views.cameras.camera_to_world)[:, 0, :3, :3]
    turn = jnp.sum(control_turn(config, frozen, views.cameras)[:, :, None, :] * pose[:, None, :, :], axis=-1)
    return normal_picture(jnp.asarray(values)[:, 0], turn, alpha)
