"""gsrecon held against the published code's own outputs (tests/golden/README.md), at 1e-4 of the largest value."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.gsrecon import PUBLISHED_FRAME, ReconstructionLossConfig, ReconstructorConfig
from diffgs_jax.models.gsrecon.frame import model_cameras, to_model_frame
from diffgs_jax.models.gsrecon.inputs import predict_grid
from diffgs_jax.models.gsrecon.losses import Appearance, compare, perceptual_ramp, resized, surface_colors
from diffgs_jax.models.gsrecon.network import param_shapes
from diffgs_jax.models.gsrecon.published import import_gsrecon
from diffgs_jax.models.splat_grid import (
    SplatGridConfig,
    gaussians_to_grid,
    grid_to_gaussians,
    plucker_maps,
    unproject_pixels,
)

TO_Z_UP = np.asarray([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # theirs (x right, y up, z to the viewer) to ours


def last(array):
    """Channels last."""
    return jnp.asarray(np.moveaxis(array, -3, -1))


def close(found, expected, tolerance=1e-4):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(scope="module")
def golden(request):
    folder = request.config.rootpath / "tests" / "golden"
    return {name: np.load(folder / f"diffsplat_{name}.npz") for name in ("cameras", "gsrecon", "losses")}


@pytest.fixture(scope="module")
def reconstructed(golden):
    z = golden["gsrecon"]
    settings = json.loads(str(z["config"]))
    state = {name.removeprefix("sd/"): z[name] for name in z.files if name.startswith("sd/")}
    config, params = import_gsrecon(state, head_width=settings["dim"] // settings["num_heads"])
    images = jnp.concatenate([last(z[f"in/{name}"]) for name in ("image", "normal", "coord")], axis=-1)
    cameras = Cameras(z["in/c2w"], z["in/fxfycxcy"])

    @jax.jit
    def run(params, images, cameras):
        grid = predict_grid(config, params, images, cameras)
        return grid, grid_to_gaussians(config.grid, grid, cameras)

    return config, cameras, *run(params, images, cameras)


def test_the_grid_is_the_published_one(golden, reconstructed):
    close(reconstructed[2], last(golden["gsrecon"]["out/grid"]))


def test_its_gaussians_are_the_published_ones(golden, reconstructed):
    z, (config, cameras, grid, gaussians) = golden["gsrecon"], reconstructed
    for ours, theirs in (("means", "xyz"), ("scales", "scale"), ("rotations", "rotation")):
        close(getattr(gaussians, ours), z[f"gs/{theirs}"])
    close(gaussians.opacities, z["gs/opacity"][..., 0])
    close(gaussians.sh[..., 0, :] * 0.28209479177387814 + 0.5, z["gs/rgb"])
    threshold = SplatGridConfig(opacity_threshold=float(z["gs_threshold/value"]))
    kept = grid_to_gaussians(threshold, last(z["out/grid"]), cameras).opacities > 0
    np.testing.assert_array_equal(kept, z["gs_threshold/kept"][..., 0])
    again = gaussians_to_grid(config.grid, gaussians, cameras, *grid.shape[2:4])
    np.testing.assert_allclose(again, grid, atol=3e-5)


@pytest.mark.parametrize(
    ("maps", "count"),
    [
        (("normals", "coordinates"), 41_817_600),
        ((), 41_620_992),
        (("normals", "coordinates", "metallic_roughness"), 41_883_136),
    ],
)
def test_published_sizes(maps, count):
    assert parameter_count(param_shapes(ReconstructorConfig(maps=maps))) == count


def test_plucker_maps(golden):
    z = golden["cameras"]
    cameras = Cameras(z["plucker/c2w"], z["plucker/fxfycxcy"])
    for size in ((6, 10), (8, 8)):
        for ours, theirs in (("official", "official"), ("centered", "centred")):
            found = plucker_maps(cameras, *size, ours)
            close(found, last(z[f"plucker/{size[0]}x{size[1]}_{theirs}"]))


def test_unprojection(golden):
    z = golden["cameras"]
    cameras = Cameras(z["plucker/c2w"], z["plucker/fxfycxcy"])
    close(unproject_pixels(z["unproject/depth"], cameras, "corners"), last(z["unproject/xyz"]))


def test_cameras_are_brought_into_the_published_frame(golden):
    z = golden["cameras"]
    theirs = np.asarray(z["norm/original_c2w_opengl"], np.float64)
    ours = np.copy(theirs)
    ours[:, :3] = TO_Z_UP @ theirs[:, :3]
    ours[:, :3, 1:3] *= -1
    cameras = Cameras(ours[None].astype(np.float32), np.tile(np.float32([1.4, 1.4, 0.5, 0.5]), (1, len(ours), 1)))
    found = model_cameras(PUBLISHED_FRAME, to_model_frame(PUBLISHED_FRAME, cameras), cameras)
    close(found.camera_to_world[0], z["norm/c2w"])


def test_maps_of_renderings(golden):
    z = golden["losses"]
    depth, alpha = (jnp.asarray(z[f"rast/{name}"][:, :, 0]) for name in ("depth", "alpha"))
    normals, cameras = last(z["rast/normal_cam"]), Cameras(z["gt/c2w"], z["gt/fxfycxcy"])
    found = surface_colors(depth, normals, alpha, cameras)
    for values, name in zip(found, ("coord", "normal"), strict=True):
        close(values, last(z[f"render/{name}"]))
    one = Cameras(*(leaf[:, :1] for leaf in cameras))
    found = surface_colors(depth[:, :1], normals[:, :1], alpha[:, :1], one, background=np.float32([0.2, 0.5, 0.8]))
    for values, name in zip(found, ("coord", "normal"), strict=True):
        close(values, last(z[f"render_bg0.2_0.5_0.8/{name}"]))


@pytest.mark.parametrize("case", ["gsrecon_default", "gsrecon_cn", "gsrecon_resize24"])
def test_losses(golden, case):
    z = golden["losses"]
    weights = {"coordinates": float(z["weights/coord"]), "normals": float(z["weights/normal"])}
    config = ReconstructionLossConfig(**(weights if case == "gsrecon_cn" else {}))
    size = 24 if case == "gsrecon_resize24" else 0

    def images(prefix):
        return [last(z[f"{prefix}/{name}"]) for name in ("image", "coord", "normal")]

    (seen, *maps), (true, *true_maps) = images("render"), images("gt")
    rendered = Appearance(seen, jnp.asarray(z["render/alpha"][:, :, 0]), *maps)
    truth = Appearance(true, jnp.asarray(z["gt/mask"][:, :, 0]), *true_maps)

    def stub(a, b):
        a, b = (resized(jnp.asarray(one).reshape(-1, *one.shape[2:]), size) * 2 - 1 for one in (a, b))
        return jnp.mean((a - b) ** 2)

    loss, metrics = compare(config, rendered, truth, stub, 0)
    close(loss, z[f"{case}/loss"])
    names = {"image": "image_mse", "alpha": "mask_mse", "perceptual": "lpips", "psnr": "psnr"}
    for ours, theirs in names.items():
        close(metrics[ours], z[f"{case}/{theirs}"])
    if case == "gsrecon_cn":
        close(metrics["coordinates"], z[f"{case}/coord_mse"])
        assert abs(1 - metrics["normals"]) == pytest.approx(abs(float(z[f"{case}/normal_cosim"])), abs=1e-5)


def test_images_are_resized_as_published(golden):
    z = golden["losses"]
    for name, source in (("gt", "gt/image"), ("render", "render/image")):
        images = last(z[source]).reshape(-1, 16, 16, 3)[:2]
        close(resized(images, 24) * 2 - 1, last(z[f"lpips_in/{name}_resize24"]))


def test_the_perceptual_weight_rises_as_published(golden):
    z = golden["losses"]
    start, end, weight = z["warmup/start_end_weight"]
    config = ReconstructionLossConfig(perceptual_warmup=(int(start), int(end)))
    found = [weight * float(perceptual_ramp(config, int(step) - 1)) for step in z["warmup/step"]]
    np.testing.assert_allclose(found, z["warmup/weight_recovered"], atol=1e-4)
