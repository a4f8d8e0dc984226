"""The .ply is held against an independent reader, `plyfile`, and the layout in the 3DGS paper's code."""

import numpy as np
import plyfile
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import clean_gaussians, read_ply, write_ply

BASE = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
TAIL = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def random_gaussians(count=50, degree=0, seed=0):
    draw = np.random.default_rng(seed)
    return Gaussians(
        means=draw.normal(size=(count, 3)).astype(np.float32),
        rotations=draw.normal(size=(count, 4)).astype(np.float32),
        scales=np.exp(draw.normal(-3, 1, (count, 3))).astype(np.float32),
        opacities=draw.uniform(0.01, 0.99, count).astype(np.float32),
        sh=draw.normal(size=(count, (degree + 1) ** 2, 3)).astype(np.float32),
    )


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_independent_reader(tmp_path, degree):
    gaussians = random_gaussians(degree=degree)
    assert write_ply(tmp_path / "a.ply", gaussians) == 50
    data = plyfile.PlyData.read(tmp_path / "a.ply")
    assert (data.text, data.byte_order) == (False, "<")
    (vertex,) = data.elements
    rest = [f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1))]
    assert [p.name for p in vertex.properties] == BASE + rest + TAIL
    assert {p.val_dtype for p in vertex.properties} == {"f4"}
    assert all(np.isfinite(vertex[p.name]).all() for p in vertex.properties)

    def columns(*names):
        return np.stack([vertex[name] for name in names], -1)

    np.testing.assert_array_equal(columns("x", "y", "z"), gaussians.means)
    np.testing.assert_array_equal(columns("nx", "ny", "nz"), 0)
    np.testing.assert_array_equal(columns("f_dc_0", "f_dc_1", "f_dc_2"), gaussians.sh[:, 0])
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), gaussians.opacities, rtol=1e-5)
    np.testing.assert_allclose(np.exp(columns(*TAIL[1:4])), gaussians.scales, rtol=1e-5)
    unit = gaussians.rotations / np.linalg.norm(gaussians.rotations, axis=-1, keepdims=True)
    np.testing.assert_allclose(columns(*TAIL[4:]), unit, atol=1e-6)
    if degree:  # all of red's coefficients, then all of green's, then all of blue's
        per_channel = len(rest) // 3
        np.testing.assert_array_equal(vertex[f"f_rest_{per_channel}"], gaussians.sh[:, 1, 1])
        np.testing.assert_array_equal(vertex["f_rest_1"], gaussians.sh[:, 2, 0])


@pytest.mark.parametrize("degree", [0, 3])
def test_round_trip(tmp_path, degree):
    gaussians = random_gaussians(degree=degree)
    write_ply(tmp_path / "a.ply", gaussians)
    back = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(back.means, gaussians.means)
    np.testing.assert_array_equal(back.sh, gaussians.sh)
    np.testing.assert_allclose(back.scales, gaussians.scales, rtol=1e-5)
    np.testing.assert_allclose(back.opacities, gaussians.opacities, rtol=1e-5)
    unit = gaussians.rotations / np.linalg.norm(gaussians.rotations, axis=-1, keepdims=True)
    np.testing.assert_allclose(back.rotations, unit, atol=1e-6)
    assert all(leaf.dtype == np.float32 for leaf in back)


def test_extremes_stay_finite(tmp_path):
    gaussians = random_gaussians(3)._replace(
        opacities=np.asarray([0.0, 1.0, 0.5], np.float32),
        scales=np.asarray([[0.0, 1e-30, 1.0]] * 3, np.float32),
        rotations=np.zeros((3, 4), np.float32),
    )
    write_ply(tmp_path / "a.ply", gaussians)
    back = read_ply(tmp_path / "a.ply")
    assert all(np.isfinite(leaf).all() for leaf in back)
    np.testing.assert_allclose(back.opacities, [0, 1, 0.5], atol=2e-6)
    np.testing.assert_array_equal(back.rotations, [[1, 0, 0, 0]] * 3)


def test_the_faint_can_be_left_out_before(tmp_path):
    gaussians = random_gaussians(200)
    kept = write_ply(tmp_path / "a.ply", clean_gaussians(gaussians, min_opacity=0.5))
    assert kept == (gaussians.opacities >= 0.5).sum() == len(read_ply(tmp_path / "a.ply").means)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_is_refused_and_nothing_is_written(tmp_path, value):
    gaussians = random_gaussians()
    gaussians.scales[3, 1] = value
    (tmp_path / "a.ply").write_bytes(b"before")
    with pytest.raises(DataError, match="1 values of the Gaussians' scales are not finite"):
        write_ply(tmp_path / "a.ply", gaussians)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.ply", b"before")]


def test_batches_are_refused(tmp_path):
    batched = Gaussians(*(leaf[None] for leaf in random_gaussians()))
    with pytest.raises(ValueError, match="one set of Gaussians"):
        write_ply(tmp_path / "a.ply", batched)


def test_reads_what_another_writer_orders_otherwise(tmp_path):
    gaussians = random_gaussians(5)
    write_ply(tmp_path / "a.ply", gaussians)
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    names = [*reversed(TAIL), "x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "quality"]
    table = np.zeros(5, [(name, "f8") for name in names])
    for name in names[:-1]:
        table[name] = vertex[name]
    other = plyfile.PlyElement.describe(table, "vertex", comments=["somebody else's"])
    plyfile.PlyData([other], byte_order="<").write(tmp_path / "b.ply")
    for ours, theirs in zip(read_ply(tmp_path / "a.ply"), read_ply(tmp_path / "b.ply"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_ply(tmp_path / "none.ply")
    write_ply(tmp_path / "a.ply", random_gaussians())
    content = (tmp_path / "a.ply").read_bytes()
    for broken, message in [
        (b"GIF89a", "is not a .ply file"),
        (b"", "is not a .ply file"),
        (content[:-1], "truncated: its header announces 50 Gaussians, 49 are there"),
        (content.replace(b"binary_little_endian", b"binary_pdp_endian"), "no known format: binary_pdp_endian"),
        (b"ply\nend_header\n", "no known format: none is named"),
        (b"ply\n\nend_header\n", "no known format"),
        (b"ply\n", "its header has no end"),
        (b"ply\nformat ascii 1.0\nend_header\n", "first element"),
        (content.replace(b"vertex 50", b"vertex 10000000000"), "truncated: its header announces 10000000000"),
        (content.replace(b"vertex 50", b"vertex " + b"9" * 5000), "first element"),
        (content.replace(b"vertex 50", b"vertex -5"), "first element"),
        (content.replace(b"element vertex", b"element chunk 3\nelement vertex"), "compressed .ply of PlayCanvas"),
        (content.replace(b"element vertex", b"element face"), "first element"),
        (content.replace(b"property float opacity\n", b""), "lacks opacity"),
        (content.replace(b"float opacity", b"list uchar int opacity"), "is not a number"),
        (content.replace(b"scale_1", b"scale_0"), "twice"),
    ]:
        (tmp_path / "b.ply").write_bytes(broken)
        with pytest.raises(DataError, match=message) as caught:
            read_ply(tmp_path / "b.ply")
        assert "\n" not in str(caught.value)


def rewritten(tmp_path, change, **options):
    """A file of ours as plyfile writes it."""
    data = plyfile.PlyData.read(tmp_path / "a.ply")
    table = change(data["vertex"].data)
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")], **options).write(tmp_path / "b.ply")
    return tmp_path / "b.ply"


@pytest.mark.parametrize("options", [{"byte_order": ">"}, {"byte_order": "<"}, {"text": True}])
def test_other_byte_orders_and_text(tmp_path, options):
    write_ply(tmp_path / "a.ply", random_gaussians(70, degree=1))
    path = rewritten(tmp_path, lambda table: table, **options)
    for ours, theirs in zip(read_ply(tmp_path / "a.ply"), read_ply(path), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5 if "text" in options else 0, atol=1e-6)


@pytest.mark.parametrize("end_of_line", [b"\r\n", b"\r"])
def test_headers_of_other_systems(tmp_path, end_of_line):
    write_ply(tmp_path / "a.ply", random_gaussians(3))
    head, mark, rows = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    (tmp_path / "b.ply").write_bytes((head + mark).replace(b"\n", end_of_line) + b"\n\r" + rows[2:])
    first = np.frombuffer(b"\n\r" + rows[2:4], "<f4")
    back = read_ply(tmp_path / "b.ply")
    assert back.means[0, 0] == first[0]
    np.testing.assert_array_equal(back.sh, read_ply(tmp_path / "a.ply").sh)


def test_the_filter_of_mip_splatting_is_applied(tmp_path):
    """Their `get_scaling_with_3D_filter` and `get_opacity_with_3D_filter`, written out for one Gaussian at a time."""
    gaussians = random_gaussians(20)
    write_ply(tmp_path / "a.ply", gaussians)
    filters = np.random.default_rng(1).uniform(0, 0.2, 20).astype(np.float32)

    def with_filter(table):
        wider = np.zeros(len(table), [*table.dtype.descr, ("filter_3D", "<f4")])
        for name in table.dtype.names:
            wider[name] = table[name]
        wider["filter_3D"] = filters
        return wider

    plain, back = read_ply(tmp_path / "a.ply"), read_ply(rewritten(tmp_path, with_filter))
    for i in range(20):
        before, after = 1.0, 1.0
        for axis in range(3):
            variance = float(plain.scales[i, axis]) ** 2
            smoothed = variance + float(filters[i]) ** 2
            assert back.scales[i, axis] == pytest.approx(smoothed**0.5, rel=1e-5)
            before, after = before * variance, after * smoothed
        assert back.opacities[i] == pytest.approx(plain.opacities[i] * (before / after) ** 0.5, rel=1e-4)
    np.testing.assert_array_equal(back.means, plain.means)


def test_degree_4_and_numbers_that_are_none_are_named(tmp_path):
    write_ply(tmp_path / "a.ply", random_gaussians(3, degree=3))

    def wider(table):
        more = [(f"f_rest_{i}", "<f4") for i in range(45, 72)]
        return np.zeros(len(table), [*table.dtype.descr, *more])

    with pytest.raises(DataError, match="spherical harmonics of degree 4; degrees 0 to 3 can be read"):
        read_ply(rewritten(tmp_path, wider))

    def changed(name, value):
        def change(table):
            table = table.astype([(column, "<f8") for column in table.dtype.names])
            table[name][1] = value
            return table

        return change

    for name, value, leaf in (
        ("x", np.nan, "means"),
        ("x", 1e300, "means"),
        ("scale_1", 1e3, "scales"),
        ("opacity", np.nan, "opacities"),
        ("rot_0", np.inf, "rotations"),
        ("f_rest_3", -np.inf, "sh"),
    ):
        with pytest.raises(DataError, match=f"1 values of the Gaussians' {leaf} are not finite"):
            read_ply(rewritten(tmp_path, changed(name, value)))
    assert read_ply(rewritten(tmp_path, changed("opacity", np.inf))).opacities[1] == 1
    assert read_ply(rewritten(tmp_path, changed("opacity", -np.inf))).opacities[1] == 0
    assert read_ply(rewritten(tmp_path, changed("scale_2", -np.inf))).scales[1, 2] == 0


def test_text_that_is_no_table(tmp_path):
    write_ply(tmp_path / "a.ply", random_gaussians(5))
    path = rewritten(tmp_path, lambda table: table, text=True)
    whole = path.read_bytes()
    lines = whole.rstrip(b"\n").split(b"\n")
    for broken, message in (
        ([*lines[:-1], lines[-1] + b" 5"], "columns|numbers where"),
        ([*lines[:-1], b"a" + lines[-1]], "could not convert"),
        (lines[:-1], "truncated"),
        ([*lines[:-1], b"1 " * 100_000], "a row of text without end"),
        ([*lines[:-5], *[b"1 2"] * 5], "truncated|2 numbers where"),
    ):
        path.write_bytes(b"\n".join(broken) + b"\n" * (b"1 2" not in broken))
        with pytest.raises(DataError, match=message) as caught:
            read_ply(path)
        assert "\n" not in str(caught.value)


def test_unwritable_place(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        write_ply(tmp_path / "no" / "such" / "a.ply", random_gaussians())
