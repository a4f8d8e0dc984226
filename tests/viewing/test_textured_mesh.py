"""Meshes of a splat as three.js draws them: with a texture they are as close to the splat as with vertex colours."""

import base64
import io
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image

from diffgs_jax.files import cache_folder
from diffgs_jax.geometry import Cameras, Gaussians, intrinsics_from_fov, look_at, sh_from_color
from diffgs_jax.interop import to_bytes
from diffgs_jax.meshing import Mesh, bake_texture, write_mesh
from diffgs_jax.rasterizer import render

pytest.importorskip("xatlas", reason='textures need pip install "diffgs_jax[mesh]"')
pytestmark = pytest.mark.long
THREE = Path(os.environ.get("DIFFGS_JAX_READERS") or cache_folder() / "readers") / "node_modules" / "three"
SIZE, FOV, DISTANCE = 192, 40.0, 2.7
PAGE = """<!doctype html><script type="importmap">
{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}
</script><script type="module">
import * as THREE from 'three';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
window.draw = async (file, size, fov, places) => {
  const { scene } = await new GLTFLoader().loadAsync(file);
  scene.traverse((part) => {
    if (!part.isMesh) return;
    const { map, vertexColors } = part.material;
    part.material = new THREE.MeshBasicMaterial({ map, vertexColors });  // no lamps: colours as they are
  });
  const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
  renderer.setSize(size, size);
  const world = new THREE.Scene();
  world.background = new THREE.Color(1, 1, 1);
  world.add(scene);
  const camera = new THREE.PerspectiveCamera(fov, 1, 0.01, 100);
  return places.map((place) => {
    camera.position.set(...place);
    camera.lookAt(0, 0, 0);
    renderer.render(world, camera);
    return renderer.domElement.toDataURL('image/png');
  });
};
window.ready = true;
</script>"""


def stripes(out):
    """Returns the colours of directions."""
    is_dark = np.floor(6 * np.arctan2(out[:, 1], out[:, 0]) / np.pi) % 2 == np.floor(4 * out[:, 2]) % 2
    return np.where(is_dark[:, None], [[0.8, 0.2, 0.1]], [[0.2, 0.5, 0.8]])


def striped_ball(count=6000):
    """Discs on a sphere of radius 0.6, in stripes that are narrower than the mesh's triangles."""
    index = np.arange(count) + 0.5
    height, azimuth = 1 - 2 * index / count, np.pi * (1 + np.sqrt(5)) * index
    flat = np.sqrt(1 - height**2)
    out = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], axis=-1)
    colors = stripes(out)
    # The turn that brings z to the outward direction
    rotations = np.stack([1 + out[:, 2], -out[:, 1], out[:, 0], np.zeros(count)], axis=-1)
    return Gaussians(
        (0.6 * out).astype(np.float32),
        rotations.astype(np.float32),
        np.tile(np.asarray([[0.02, 0.02, 0.004]], np.float32), (count, 1)),
        np.full(count, 0.95, np.float32),
        np.asarray(sh_from_color(jnp.asarray(colors, jnp.float32)[:, None])).reshape(count, 1, 3),
    )


def drawn_by_three(browser, folder, names, places):
    page = browser.new_page()

    def serve(route):
        path = route.request.url.split("three.test/", 1)[1]
        if not path:
            route.fulfill(body=PAGE, content_type="text/html")
        elif path.startswith("three/"):
            route.fulfill(body=(THREE / path.removeprefix("three/")).read_text(), content_type="text/javascript")
        else:
            route.fulfill(body=(folder / path).read_bytes())

    page.set_default_timeout(300_000)
    page.route("**/*", serve)
    page.goto("http://three.test/")
    page.wait_for_function("window.ready")
    drawn = {}
    for name in names:
        urls = page.evaluate("([...all]) => window.draw(...all)", [f"/{name}", SIZE, FOV, places])
        pictures = [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB") for url in urls]
        drawn[name] = np.stack([np.asarray(picture, np.float64) / 255 for picture in pictures])
    page.close()
    return drawn


def test_a_texture_is_as_good_as_vertex_colors_or_better(browser, tmp_path):
    if not THREE.exists():
        pytest.skip(f"no three.js at {THREE}: run scripts/fetch_readers.sh")
    gaussians = striped_ball()
    sphere = trimesh.creation.icosphere(3, 0.6)
    vertices = np.asarray(sphere.vertices, np.float32)
    mesh = Mesh(vertices, np.asarray(sphere.faces, np.int32), stripes(vertices / 0.6).astype(np.float32))
    textured = bake_texture(gaussians, mesh, size=256, views=16, resolution=128)
    write_mesh(tmp_path / "corners.glb", mesh)
    write_mesh(tmp_path / "texture.glb", textured)
    index = np.arange(20) + 0.5
    height, azimuth = 0.9 * (1 - index / 10), np.pi * (1 + np.sqrt(5)) * index
    flat = np.sqrt(1 - height**2)
    positions = DISTANCE * np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], axis=-1)
    draw = jax.jit(lambda camera: render(gaussians, camera, height=SIZE, width=SIZE).image)
    camera = [
        Cameras(jnp.asarray(look_at(position), jnp.float32), jnp.asarray(intrinsics_from_fov(FOV), jnp.float32))
        for position in positions
    ]
    splat = np.stack([to_bytes(np.asarray(draw(one))) / 255 for one in camera])
    drawn = drawn_by_three(browser, tmp_path, ("corners.glb", "texture.glb"), positions[:, [1, 2, 0]].tolist())
    scores = {name: float(-10 * np.log10(np.mean((pictures - splat) ** 2))) for name, pictures in drawn.items()}
    assert scores["corners.glb"] > 15 and scores["texture.glb"] > scores["corners.glb"] - 1.5, scores
