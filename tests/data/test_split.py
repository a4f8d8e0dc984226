import numpy as np
import pytest

from diffgs_jax.data import geometry_hash, split_of
from diffgs_jax.geometry import normalize_points


def in_object_frame(triangles):
    offset, scale = normalize_points(triangles.reshape(-1, 3))
    return (triangles + offset) * scale


def soup(seed, faces=200):
    random = np.random.default_rng(seed)
    return in_object_frame(random.normal(size=(faces, 1, 3)) + 0.2 * random.normal(size=(faces, 3, 3)))


def subdivided(triangles):
    a, b, c = np.moveaxis(triangles, 1, 0)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    return np.concatenate([np.stack(three, 1) for three in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])


@pytest.mark.parametrize("seed", range(5))
def test_the_same_shape_has_the_same_hash_however_it_is_written(seed):
    triangles, random = soup(seed), np.random.default_rng(seed)
    expected = geometry_hash(triangles)
    assert geometry_hash(triangles[random.permutation(len(triangles))]) == expected
    assert geometry_hash(triangles[:, [2, 0, 1]]) == expected
    assert geometry_hash(triangles[:, [1, 0, 2]]) == expected
    assert geometry_hash(subdivided(triangles)) == expected
    assert geometry_hash(np.concatenate([triangles, triangles[:, ::-1]])) == expected
    assert geometry_hash(in_object_frame(triangles * 37.0 + [5.0, -2.0, 11.0])) == expected


def test_another_export_s_last_digits_hardly_ever_matter():
    changed = 0
    for seed in range(100):
        triangles = soup(seed, 50)
        noise = np.random.default_rng(seed).uniform(-5e-7, 5e-7, triangles.shape)
        changed += geometry_hash(triangles) != geometry_hash(in_object_frame(triangles + noise))
    assert changed <= 3


def test_other_shapes_have_other_hashes():
    assert len({geometry_hash(soup(seed, 20)) for seed in range(300)}) == 300
    stretched = soup(0) * [1.0, 1.0, 1.05]
    assert geometry_hash(in_object_frame(stretched)) != geometry_hash(soup(0))


def test_a_tenth_is_held_out_and_a_smaller_test_set_is_part_of_a_larger():
    hashes = [f"{number:016x}" for number in range(5000)]
    held_out = {
        percent: {h for h in hashes if split_of(h, percent) == "test"} for percent in (0.0, 5.0, 10.0, 50.0, 100.0)
    }
    assert abs(len(held_out[10]) / 5000 - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 5000)
    assert held_out[0] == set() and held_out[100] == set(hashes)
    assert held_out[5] < held_out[10] < held_out[50]
