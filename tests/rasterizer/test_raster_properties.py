"""The tiled rasterizer against the dense one, and what must hold whatever is rendered."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Cameras, Gaussians, orbit, sh_from_color
from diffgs_jax.rasterizer import Rendering, _binning, _ordering, render, render_dense
from diffgs_jax.rasterizer._binning import TileLists, TileRectangles, list_tiles
from diffgs_jax.rasterizer._tiles import TileGrid

# Compiling takes longer than rendering, so all comparisons share one shape: two scenes, two views each, an odd size.
HEIGHT, WIDTH, COUNT, BATCH, VIEWS = 13, 31, 100, (2,), (2, 2)


def random_gaussians(kind: str, count: int, seed: int, batch: tuple[int, ...] = (), sh: int = 1) -> Gaussians:
    """Gaussians around the origin; `nasty` mixes in everything that must not be drawn or is hard to draw."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(-1, 1, (*batch, count, 3))
    scales = np.exp(rng.uniform(np.log(0.01), np.log(0.3), (*batch, count, 3)))
    opacities = rng.uniform(0.02, 1.0, (*batch, count))
    rotations = rng.normal(size=(*batch, count, 4))
    if kind == "nasty":
        choice = rng.integers(0, 8, (*batch, count))
        means[choice == 0] *= 40.0  # off screen, and behind the camera
        scales[choice == 1] *= 100.0  # covers everything
        scales[choice == 2] *= 1e-4  # smaller than a pixel
        opacities[choice == 3] = rng.choice([0.0, 0.003, 1.0 / 255.0 + 1e-4, 1.0], (choice == 3).sum())
        scales[choice == 4, 0] = 0.0
        rotations[choice == 5] = 0.0
        scales[choice == 6, 1] *= 30.0  # needles
    if kind == "huge":
        scales *= 30.0
        opacities *= 0.1
    if kind == "opaque":
        opacities = 0.9 + 0.1 * opacities
    return Gaussians(
        *(
            jnp.asarray(values, jnp.float32)
            for values in (means, rotations, scales, opacities, rng.normal(size=(*batch, count, sh, 3)))
        )
    )


def random_cameras(lead: tuple[int, ...], seed: int, height: int = 1, width: int = 1) -> Cameras:
    """Cameras on a sphere, slightly off centre."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(lead))
    cameras = orbit(rng.uniform(0, 360, count), elevation_degrees=20.0, distance=2.4)
    intrinsics = cameras.intrinsics * np.asarray([1.0, width / height, 1.0, 1.0]) + rng.normal(size=(count, 4)) * 0.02
    return Cameras(
        jnp.asarray(cameras.camera_to_world.reshape(*lead, 4, 4)),
        jnp.asarray(intrinsics.reshape(*lead, 4), jnp.float32),
    )


class Inputs(NamedTuple):
    """Everything a render is differentiable in."""

    gaussians: Gaussians
    cameras: Cameras
    background: jax.Array
    features: jax.Array


def random_inputs(kind: str, seed: int) -> Inputs:
    rng = np.random.default_rng(1000 + seed)
    return Inputs(
        random_gaussians(kind, COUNT, seed, BATCH, sh=4),
        random_cameras(VIEWS, seed, HEIGHT, WIDTH),
        jnp.asarray(rng.uniform(size=(*VIEWS, 3)), jnp.float32),
        jnp.asarray(rng.normal(size=(*BATCH, COUNT, 2)), jnp.float32),
    )


def loss(inputs: Inputs, renderer, height: int, width: int, **settings) -> tuple[jax.Array, Rendering]:
    """A fixed random projection of everything that is rendered."""
    gaussians, cameras, background, features = inputs
    rendering = renderer(
        gaussians, cameras, background=background, features=features, height=height, width=width, **settings
    )
    rng = np.random.default_rng(0)
    values = [x for x in rendering if x is not None]
    return sum(jnp.sum(x * jnp.asarray(rng.normal(size=x.shape), jnp.float32)) for x in values), rendering


@functools.cache
def compiled(renderer, **settings):
    """Returns a jitted function from `Inputs` to their gradients and the rendering."""
    return jax.jit(jax.grad(functools.partial(loss, renderer=renderer, **settings), has_aux=True))


def full_size(renderer, inputs: Inputs, **settings) -> tuple[Inputs, Rendering]:
    return compiled(renderer, height=HEIGHT, width=WIDTH, **settings)(inputs)


def assert_same(left: Rendering, right: Rendering, tolerance: float = 1e-4, fraction: float = 0.995) -> None:
    for name, values in left._asdict().items():
        if values is None:
            assert getattr(right, name) is None
            continue
        error = np.abs(values - getattr(right, name)) / max(1.0, np.abs(values).max())
        assert np.mean(error <= tolerance) >= fraction, f"{name}: {np.mean(error <= tolerance):.4f}"


def assert_same_gradients(left, right, tolerance: float) -> None:
    for (path, found), expected in zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(found).all() and np.isfinite(expected).all(), name
        error = np.linalg.norm(found - expected) / (np.linalg.norm(expected) + 1e-3)
        assert error < tolerance, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("kind", ["plain", "nasty", "huge", "opaque"])
@pytest.mark.parametrize("seed", [1, 2])
def test_tiled_equals_dense(kind, seed):
    inputs = random_inputs(kind, seed)
    (left, found), (right, expected) = (full_size(renderer, inputs) for renderer in (render, render_dense))
    assert_same(found, expected)
    # One pixel on the other side of a threshold moves a gradient by more than rounding does.
    assert_same_gradients(left, right, tolerance=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "nasty"])
def test_tiled_equals_dense_antialiased_and_with_radii(kind):
    inputs = random_inputs(kind, 4)
    settings = {"antialiased": True, "with_radii": True}
    (left, found), (right, expected) = (full_size(renderer, inputs, **settings) for renderer in (render, render_dense))
    assert found.radii.shape == (*VIEWS, COUNT, 2)
    assert_same(found, expected)
    assert_same_gradients(left, right, tolerance=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "nasty", "huge", "opaque"])
def test_capacity_bounds_memory_and_not_the_result(kind):
    """The least capacity, raised to one splat that covers an image, needs a pass for every few splats."""
    inputs = random_inputs(kind, 3)
    (left, found), (right, expected) = full_size(render, inputs, capacity=1), full_size(render, inputs)
    assert_same(found, expected, tolerance=3e-6, fraction=1.0)
    assert_same_gradients(left, right, tolerance=1e-3)


def test_rendering_is_deterministic():
    first, second = (full_size(render, random_inputs("plain", 4)) for _ in range(2))
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
def test_vmap_equals_a_batch():
    gaussians, cameras = random_gaussians("plain", 40, 5, (3,)), random_cameras((3, 2), 6)

    def energy(means: jax.Array, gaussians: Gaussians, cameras: Cameras) -> jax.Array:
        return jnp.sum(render(gaussians._replace(means=means), cameras, height=9, width=9, capacity=30).image ** 2)

    gradient = jax.grad(energy)
    found = jax.jit(jax.vmap(gradient))(gaussians.means, gaussians, cameras)
    expected = jax.jit(gradient)(gaussians.means, gaussians, cameras)
    assert_same_gradients(found, expected, tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("images_packed", [0, 1, 2])
def test_every_way_of_grouping_agrees(images_packed, monkeypatch):
    """Pairs are grouped by counting, or by sorting words that hold one image or several, or words and ranks.

    What is sorted is done so in a list of the capacity's length, or of three eighths of it.
    """
    grid, images, per_image = TileGrid(20, 30, 8), 3, 150
    rng = np.random.default_rng(6)
    first = rng.integers(0, [4, 3], (images * per_image, 2))
    size = rng.integers(0, [4, 3] - first + 1)
    rectangles = TileRectangles(
        *(jnp.asarray(values, jnp.int32) for values in (rng.permutation(images * per_image), first, size))
    )

    def compiled_lists():
        settings = {"images": images, "capacity": 40, "with_owners": True}
        return jax.jit(lambda is_open, start: list_tiles(rectangles, is_open, start, grid, **settings))

    def as_sets(found: TileLists) -> list[list[int]]:
        begins, counts = np.asarray(found.starts), np.asarray(found.counts)
        return [np.asarray(found.ids)[b : b + c].tolist() for b, c in zip(begins, counts, strict=True)]

    def by_hand(is_open: np.ndarray, start: int, stop: int) -> list[list[int]]:
        tiles: list[list[int]] = [[] for _ in range(images * grid.tiles)]
        for splat in range(start, stop):
            touched = [
                splat // per_image * grid.tiles + row * grid.columns + column
                for row in range(first[splat, 1], first[splat, 1] + size[splat, 1])
                for column in range(first[splat, 0], first[splat, 0] + size[splat, 0])
            ]
            if is_open[touched].any():
                for tile in touched:
                    tiles[tile].append(int(rectangles.ids[splat]))
        return tiles

    def check_slots(found: TileLists) -> None:
        """By owner, a splat's entries are its rectangle row by row, and all slots in use are the first ones."""
        assert found.owners is not None
        owners, taken = np.asarray(found.owners), []
        for tile, splats in enumerate(as_sets(found)):
            row, column = divmod(tile % grid.tiles, grid.columns)
            for splat in splats:
                corner, width, begin, count = owners[splat]
                taken.append(corner + row * width + column)
                assert begin <= taken[-1] < begin + count
        assert sorted(taken) == list(range(owners[:, 3].sum()))

    by_counting = compiled_lists()
    is_open = np.ones(images * grid.tiles, bool)
    by_counting(jnp.asarray(is_open), jnp.int32(0))  # settings are read when a function is traced
    monkeypatch.setattr(_ordering, "_COUNTING_WORDS", 0)
    monkeypatch.setattr(_binning, "_LONG_LIST", 0)
    for module in (_binning, _ordering):
        monkeypatch.setattr(module, "images_to_pack", lambda *_, **__: images_packed)
    by_sorting = compiled_lists()
    start, passes = 0, 0
    while start < images * per_image:
        found, counted = (lists(jnp.asarray(is_open), jnp.int32(start)) for lists in (by_sorting, by_counting))
        assert int(found.next_splat) > start
        assert as_sets(found) == by_hand(is_open, start, int(found.next_splat))
        assert as_sets(counted) == by_hand(is_open, start, int(counted.next_splat))
        check_slots(found)
        is_open &= rng.random(len(is_open)) < 0.9  # as the front covers them
        start, passes = int(found.next_splat), passes + 1
    assert passes > 5


def test_the_number_of_passes_follows_the_pairs_there_are():
    """Not those there could be: 600,000 Gaussians of which each may touch 4,096 tiles, but three do."""
    count, grid = 600_000, TileGrid(512, 512, 8)
    touched = {17: (3, 2), 299_999: (64, 64), 599_998: (1, 1)}
    size = np.zeros((count, 2), np.int32)
    for splat, extent in touched.items():
        size[splat] = extent
    rectangles = TileRectangles(jnp.arange(count, dtype=jnp.int32), jnp.zeros((count, 2), jnp.int32), jnp.asarray(size))
    lists = jax.jit(lambda *scene: list_tiles(*scene, jnp.int32(0), grid, images=1, capacity=1 << 20))
    found = lists(rectangles, jnp.ones(grid.tiles, bool))
    assert found.next_splat == count
    assert found.counts.sum() == sum(columns * rows for columns, rows in touched.values())
    np.testing.assert_array_equal(found.ids[:3], [17, 299_999, 599_998])

    everywhere = rectangles._replace(size=jnp.full((count, 2), 64, jnp.int32))  # 2.5 · 10⁹ pairs: more than int32 holds
    found = lists(everywhere, jnp.ones(grid.tiles, bool))
    assert found.next_splat == (1 << 20) // grid.tiles
    np.testing.assert_array_equal(found.counts, (1 << 20) // grid.tiles)


def test_groups_are_bounded_by_their_edges():
    """What a GPU does in place of a search: groups without members, and slots of no group at the end."""
    counts = np.asarray([3, 0, 1, 7, 0, 0, 2, 0])
    group = np.repeat(np.arange(10), [*counts, 0, 5]).astype(np.int32)
    starts, found = jax.jit(_ordering.group_bounds_by_edges, static_argnums=1)(jnp.asarray(group), len(counts))
    np.testing.assert_array_equal(found, counts)
    np.testing.assert_array_equal(starts, np.where(counts > 0, np.cumsum(counts) - counts, 0))


def test_free_gaussians_do_not_halve_what_a_key_holds():
    sizes = {"tiles": 1024, "images": 15}
    assert _ordering.images_to_pack(1 << 20, **sizes, per_image=4 * 256**2 + 2) == 15


@pytest.mark.parametrize("order_by_depth", [_ordering.depth_order, _ordering.depth_order_by_flat_sorts])
@pytest.mark.parametrize("ties", [1, 3, 50])
def test_depth_order_is_a_stable_sort(ties, order_by_depth):
    rng = np.random.default_rng(7)
    depths = rng.integers(1, 200 // ties + 2, (3, 200)).astype(np.float32) * 0.01
    is_visible = rng.random((3, 200)) < 0.8
    order = np.asarray(order_by_depth(jnp.asarray(depths), jnp.asarray(is_visible)))
    for image in range(3):
        expected = np.argsort(np.where(is_visible, depths, np.inf)[image], kind="stable")
        np.testing.assert_array_equal(order[image], expected)


@pytest.mark.slow
def test_shard_map_equals_one_device():
    gaussians, cameras = random_gaussians("plain", 30, 16, (2,)), random_cameras((2, 2), 17)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")

    def draw(gaussians: Gaussians, cameras: Cameras) -> Rendering:
        return render(gaussians, cameras, height=8, width=8)._replace(features=None)

    sharded = jax.shard_map(draw, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False)
    found, expected = jax.jit(sharded)(gaussians, cameras), jax.jit(draw)(gaussians, cameras)
    np.testing.assert_allclose(found.image, expected.image, atol=1e-6)


@pytest.mark.parametrize(("count", "views"), [(0, 2), (3, 0)], ids=["no Gaussians", "no cameras"])
def test_nothing_to_render(count, views):
    gaussians = random_gaussians("plain", count, 20)
    cameras = jax.tree.map(lambda values: values[:views], random_cameras((2,), 21))
    rendering = jax.jit(lambda *scene: render(*scene, height=5, width=4, background=0.25))(gaussians, cameras)
    assert rendering.image.shape == (views, 5, 4, 3)
    np.testing.assert_array_equal(rendering.image, 0.25)
    np.testing.assert_array_equal(rendering.alpha, 0.0)


@pytest.mark.slow
def test_equal_depths_are_blended_by_index():
    """Coincident splats, red, green and blue in turn: what each adds is decided by its index alone."""
    count = 12
    colors = np.eye(3, dtype=np.float32)[np.arange(count) % 3]
    gaussians = Gaussians(
        jnp.zeros((count, 3)),
        jnp.ones((count, 4)),
        jnp.full((count, 3), 0.5),
        jnp.full(count, 0.5),
        sh_from_color(jnp.asarray(colors)),
    )
    cameras = jax.tree.map(jnp.asarray, orbit(np.zeros(1)))
    rendering = jax.jit(lambda *scene: render(*scene, height=3, width=3, background=0.0))(gaussians, cameras)
    weights = 0.5 ** np.arange(1, count + 1)
    np.testing.assert_allclose(rendering.image[0, 1, 1], [weights[i::3].sum() for i in range(3)], atol=1e-5)


def test_one_splat_is_its_formula():
    gaussians = Gaussians(
        jnp.zeros((1, 3)), jnp.asarray([[2.0, 0, 0, 0]]), jnp.full((1, 3), 0.2), jnp.full(1, 0.6), jnp.zeros((1, 1, 3))
    )
    cameras = jax.tree.map(jnp.asarray, orbit(np.asarray([30.0]), distance=2.7))
    rendering = jax.jit(lambda *scene: render(*scene, height=9, width=9))(gaussians, cameras)
    np.testing.assert_allclose(rendering.alpha[0, 4, 4], 0.6, atol=1e-5)
    np.testing.assert_allclose(rendering.depth[0, 4, 4], 0.6 * 2.7, atol=1e-5)
    np.testing.assert_allclose(rendering.image[0, 4, 4], 0.6 * 0.5 + 0.4, atol=1e-5)
    focal = 9 * 0.5 / np.tan(np.radians(25))
    variance = (0.2 * focal / 2.7) ** 2 + 0.3
    np.testing.assert_allclose(rendering.alpha[0, 4, 6], 0.6 * np.exp(-2.0 / variance), atol=1e-5)


@pytest.mark.slow
def test_an_image_of_one_pixel():
    """A 1 × 1 image is all overhang but for one pixel."""
    gaussians, cameras = random_gaussians("plain", COUNT, 22), random_cameras((2,), 23)
    size = {"height": 1, "width": 1}
    found, expected = (
        jax.jit(lambda *scene, draw=draw: draw(*scene, **size).image)(gaussians, cameras)
        for draw in (render, render_dense)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
