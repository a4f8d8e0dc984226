"""The world in the mirror: x and y change places, which is what right-handed and left-handed worlds differ in.

Cameras and Gaussians mirrored together give the same picture, for it is made of what the camera sees and not of where
that is. Everything here is a permutation with signs: exact, and its own inverse to the last bit.
"""

import numpy as np

from diffgs_jax.geometry.cameras import Cameras
from diffgs_jax.geometry.gaussians import Gaussians

_AXES = np.asarray([1, 0, 2])
# A rotation R becomes M R M, the turn in the other sense about the mirrored axis; so the scales change places too.
_QUATERNION, _QUATERNION_SIGNS = np.asarray([0, 2, 1, 3]), np.asarray([1.0, -1.0, -1.0, -1.0])
# Y_k(M d) = sign · Y_k'(d) for the basis of `spherical_harmonics`, degrees 0 to 3.
_HARMONICS = np.asarray([0, 3, 2, 1, 4, 7, 6, 5, 8, 15, 10, 13, 12, 11, 14, 9])
_HARMONICS_SIGNS = np.asarray([1.0, 1, 1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1, -1, -1])


def mirror_cameras(cameras: Cameras) -> Cameras:
    """Returns the cameras' mirror images: left-handed ones, det(R) = −1, of which rays can be taken and rendered.

    Args:
        cameras: any number of them, `[*batch]`.
    """
    return cameras._replace(camera_to_world=cameras.camera_to_world[..., np.append(_AXES, 3), :])


def mirror_gaussians(gaussians: Gaussians) -> Gaussians:
    """Returns the Gaussians' mirror images; of their mirror images, the Gaussians themselves.

    Args:
        gaussians: any number of sets of them, `[*batch, n]`.
    """
    coefficients = gaussians.sh.shape[-2]
    signs = _HARMONICS_SIGNS[:coefficients].reshape(*(1,) * (gaussians.sh.ndim - 2), -1, 1)
    quaternion_signs = _QUATERNION_SIGNS.reshape(*(1,) * (gaussians.rotations.ndim - 1), -1)
    return Gaussians(
        means=gaussians.means[..., _AXES],
        rotations=gaussians.rotations[..., _QUATERNION] * quaternion_signs.astype(gaussians.rotations.dtype),
        scales=gaussians.scales[..., _AXES],
        opacities=gaussians.opacities,
        sh=gaussians.sh[..., _HARMONICS[:coefficients], :] * signs.astype(gaussians.sh.dtype),
    )
