"""Cameras, rays, Gaussians and the frame they live in."""

from diffgs_jax.geometry.cameras import (
    Cameras,
    intrinsics_from_fov,
    look_at,
    orbit,
    spherical_position,
    world_to_camera,
)
from diffgs_jax.geometry.columns import join_columns, split_columns
from diffgs_jax.geometry.gaussians import (
    Gaussians,
    covariance_entries,
    covariances,
    principal_axes,
    rotation_matrices,
    with_unit_rotations,
)
from diffgs_jax.geometry.mirroring import mirror_cameras, mirror_gaussians
from diffgs_jax.geometry.object_frame import (
    FOREGROUND_RATIO,
    TURNTABLE_RATIO,
    ObjectRig,
    azimuths_beside,
    condition_camera,
    denoised_cameras,
    normalize_points,
    turn_to_azimuth_zero,
)
from diffgs_jax.geometry.rays import RayEmbedding, Rays, closest_point_to_origin, embed_rays, pixel_rays
from diffgs_jax.geometry.similarity import (
    Similarity,
    inverse_similarity,
    moved_cameras,
    moved_gaussians,
    similarity_between,
)
from diffgs_jax.geometry.smoothing import DILATION, SMOOTHED_DILATION, smoothed
from diffgs_jax.geometry.spherical_harmonics import color_columns, sh_from_color, sh_to_color, spherical_harmonics
from diffgs_jax.geometry.turning import turn_gaussians
from diffgs_jax.geometry.views import OBJECT, SCENE, Views

__all__ = [
    "color_columns",
    "covariance_entries",
    "join_columns",
    "split_columns",
    "DILATION",
    "OBJECT",
    "SCENE",
    "SMOOTHED_DILATION",
    "FOREGROUND_RATIO",
    "TURNTABLE_RATIO",
    "Cameras",
    "Gaussians",
    "ObjectRig",
    "RayEmbedding",
    "Rays",
    "Similarity",
    "Views",
    "closest_point_to_origin",
    "condition_camera",
    "covariances",
    "azimuths_beside",
    "denoised_cameras",
    "embed_rays",
    "intrinsics_from_fov",
    "inverse_similarity",
    "look_at",
    "mirror_cameras",
    "mirror_gaussians",
    "moved_cameras",
    "moved_gaussians",
    "normalize_points",
    "orbit",
    "pixel_rays",
    "principal_axes",
    "rotation_matrices",
    "sh_from_color",
    "similarity_between",
    "sh_to_color",
    "spherical_harmonics",
    "spherical_position",
    "turn_gaussians",
    "turn_to_azimuth_zero",
    "with_unit_rotations",
    "world_to_camera",
    "smoothed",
]
