"""Images to patch tokens and back."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def patchify(images: Float[Array, "*batch h w c"], patch_size: int) -> Float[Array, "*batch n d"]:
    """Cuts images into tokens of d = patch_size² · c features, ordered (row, column, channel).

    Tokens are in raster order.

    Raises:
        ValueError: if the patch size does not divide the image.
    """
    *batch, height, width, channels = images.shape
    if height % patch_size or width % patch_size:
        raise ValueError(f"patches of {patch_size} pixels do not tile a {height} × {width} image")
    rows, columns = height // patch_size, width // patch_size
    grid = images.reshape(*batch, rows, patch_size, columns, patch_size, channels)
    grid = jnp.swapaxes(grid, -4, -3)
    return grid.reshape(*batch, rows * columns, patch_size * patch_size * channels)


def unpatchify(
    tokens: Float[Array, "*batch n d"], patch_size: int, height: int, width: int
) -> Float[Array, "*batch {height} {width} c"]:
    """Lays tokens back into images: the inverse of `patchify`.

    Args:
        tokens: n = (height / patch_size) · (width / patch_size) tokens of d = patch_size² · c features.
        patch_size: pixels on a patch's side, in the image that is made.
        height: of that image, pixels.
        width: of that image, pixels.
    """
    *batch, _, features = tokens.shape
    channels = features // patch_size**2
    rows, columns = height // patch_size, width // patch_size
    grid = tokens.reshape(*batch, rows, columns, patch_size, patch_size, channels)
    return jnp.swapaxes(grid, -4, -3).reshape(*batch, height, width, channels)
