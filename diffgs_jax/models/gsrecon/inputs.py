"""What the network reads of posed views, and the Gaussians it makes of them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, Gaussians, Similarity, Views, inverse_similarity, moved_gaussians
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.gsrecon.config import GSReconConfig
from diffgs_jax.models.gsrecon.frame import model_cameras, to_model_frame
from diffgs_jax.models.gsrecon.hull import hull_depths
from diffgs_jax.models.gsrecon.network import apply_network
from diffgs_jax.models.splat_grid import grid_to_gaussians, plucker_maps, unproject_pixels

_ROUNDING = 1e-3


def predict_grid(
    config: GSReconConfig, params: Params, images: Float[Array, "b v h w c"], cameras: Cameras
) -> Float[Array, "b v rows columns 12"]:
    """Runs the network on views in its own world, and returns their splat grids.

    Args:
        config: of the model.
        params: its weights.
        images: colours and maps of each pixel, all in [0, 1] on white.
        cameras: `[b, v]`, as the network knows them (`model_cameras`).
    """
    height, width = images.shape[2:4]
    rays = plucker_maps(cameras, height, width, config.network.plucker)
    return apply_network(config.network, params, jnp.concatenate([2 * images - 1, rays], axis=-1))


def reconstruct(config: GSReconConfig, params: Params, views: Views) -> tuple[Gaussians, Similarity]:
    """Returns the Gaussians of views in the network's world, and the similarity that leads there.

    Args:
        config: of the model.
        params: its weights.
        views: `[b, v]`, in the frame of a request, with the maps that the network is shown.

    Raises:
        UserError: if a map is missing.
    """
    return gaussians_of_grids(config, grids_of_views(config, params, views), views.cameras)


def grids_of_views(config: GSReconConfig, params: Params, views: Views) -> Float[Array, "b v rows columns 12"]:
    """Returns the splat grids of views; arguments and errors are those of `reconstruct`."""
    similarity = to_model_frame(config.frame, views.cameras)
    cameras = model_cameras(config.frame, similarity, views.cameras)
    channels = [jnp.asarray(views.images, jnp.float32)]
    for name in config.network.maps:
        channels.append(encoded_map(config, name, views, cameras, similarity))
    return predict_grid(config, params, jnp.concatenate(channels, axis=-1), cameras)


def gaussians_of_grids(
    config: GSReconConfig, grids: Float[Array, "b v rows columns 12"], cameras: Cameras
) -> tuple[Gaussians, Similarity]:
    """Returns the Gaussians of grids in the network's world, and the similarity that leads there.

    Args:
        config: of the model.
        grids: one for each camera.
        cameras: `[b, v]`, in the frame of a request.
    """
    similarity = to_model_frame(config.frame, cameras)
    return grid_to_gaussians(config.grid, grids, model_cameras(config.frame, similarity, cameras)), similarity


def to_request_frame(gaussians: Gaussians, similarity: Similarity) -> Gaussians:
    """Returns Gaussians of the network's world in the frame of the request."""
    return moved_gaussians(inverse_similarity(similarity), gaussians)


def check_maps(config: GSReconConfig, views: Views) -> None:
    """Refuses views without the maps that the network is shown, or with a depth that its grids cannot hold.

    Args:
        config: of the model.
        views: `[b, v]`, in the frame of a request.

    Raises:
        UserError: if a map is missing.
        DataError: if a depth lies farther than 1 before or behind the origin.
    """
    known = {"normals": views.normals, "coordinates": views.depths, "silhouettes": views.alphas}
    for name in config.network.maps:
        if known.get(name) is None:
            raise UserError(f"this model is shown {name} beside pictures, and these views have none")
    if "coordinates" not in config.network.maps or views.depths is None:
        return
    depths, poses = np.asarray(views.depths), np.asarray(views.cameras.camera_to_world)
    distances = np.linalg.norm(poses[..., :3, 3], axis=-1)
    reach = 1.0 if config.frame.distance is None else distances[:, :1] / config.frame.distance
    off = np.abs(depths - distances[..., None, None]).max(axis=(2, 3), where=~np.isnan(depths), initial=0.0) / reach
    for sample, view in np.argwhere(off > 1 + _ROUNDING)[:1]:
        known = depths[sample, view][~np.isnan(depths[sample, view])]
        raise DataError(
            f"the depth of view {view} is {known.min():.3g} to {known.max():.3g} where its camera is "
            f"{distances[sample, view]:.3g} from the object's centre: it is in other units, or of another object"
        )


def encoded_map(
    config: GSReconConfig, name: str, views: Views, cameras: Cameras, similarity: Similarity
) -> Float[Array, "b v h w 3"]:
    """Returns a map of views as colours.

    Normals are n/2 + 1/2 and coordinates x/2 + 1/2 in the network's world, white where there are none; silhouettes are
    the coverage and the depths d/2 + 1/2 at which a pixel's ray enters and leaves their hull.

    Args:
        config: of the model.
        name: of the map.
        views: `[b, v]`, in the frame of a request.
        cameras: theirs, in the network's world.
        similarity: of `to_model_frame`.

    Raises:
        UserError: if the views do not have it.
    """
    if name == "normals" and views.normals is not None:
        turn = jnp.asarray(similarity.turn)[:, None, None, None]
        normals = jnp.asarray(views.normals)
        values = jnp.stack([jnp.sum(turn[..., i, :] * normals, axis=-1) for i in range(3)], axis=-1)
    elif name == "coordinates" and views.depths is not None:
        depth = jnp.asarray(views.depths) * jnp.asarray(similarity.scale)[:, None, None, None]
        values = unproject_pixels(depth, cameras, config.grid.places)
    elif name == "silhouettes" and views.alphas is not None:
        depths = hull_depths(views.alphas, cameras, config.grid.places)
        return jnp.stack([jnp.asarray(views.alphas), *(one * 0.5 + 0.5 for one in depths)], axis=-1)
    else:
        raise UserError(f"this model is shown {name} beside pictures, and these views have none")
    return jnp.where(jnp.isnan(values), 1.0, values * 0.5 + 0.5)
