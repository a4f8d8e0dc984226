import pathlib
import sys

import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.synthesis.meshes.raycasting import RayCaster
from diffgs_jax.synthesis.meshes.rendering import MeshRenderer

# Where GLB files are made by hand (gltf_files.py).
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "meshing"))


@pytest.fixture(scope="module", params=[MeshRenderer, RayCaster])
def renderer(request):
    """Each engine that runs here, for pictures of the module's `SIZE`."""
    try:
        renderer = request.param(request.module.SIZE)
    except UserError as error:
        pytest.skip(str(error))
    yield renderer
    renderer.close()
