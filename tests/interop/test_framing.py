"""Pictures of a known object, saved in many ways, are held against the object's analytic cover."""

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.interop import frame_object, isolate_object, load_framed, read_image

HEIGHT, WIDTH = 120, 160
CENTER, RADII = (50.0, 90.0), (30.0, 44.0)  # rows, columns; of an ellipse off the middle
RED = (200, 40, 30)


def ellipse(height=HEIGHT, width=WIDTH, center=CENTER, radii=RADII, fine=8):
    """The cover of an ellipse, from `fine`² samples a pixel."""
    rows = (np.arange(height * fine) + 0.5) / fine
    columns = (np.arange(width * fine) + 0.5) / fine
    inside = ((rows[:, None] - center[0]) / radii[0]) ** 2 + ((columns[None] - center[1]) / radii[1]) ** 2 <= 1
    return inside.reshape(height, fine, width, fine).mean((1, 3)).astype(np.float32)


def cut_out(color=RED):
    cover = ellipse()
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., :3] = color
    pixels[..., 3] = np.round(cover * 255)
    return pixels


def on_plain(background, color=RED):
    cover = ellipse()[..., None]
    return np.round(cover * np.asarray(color) + (1 - cover) * np.asarray(background)).astype(np.uint8)


def box_of(alpha):
    rows, columns = np.flatnonzero(alpha.max(1) > 0.05), np.flatnonzero(alpha.max(0) > 0.05)
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def save(tmp_path, name, pixels, **options):
    Image.fromarray(pixels).save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("ratio", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("resolution", [33, 64, 200])
def test_object_is_centred_and_fills_the_ratio(tmp_path, ratio, resolution):
    path = save(tmp_path, "a.png", cut_out())
    picture = load_framed(path, resolution=resolution, foreground_ratio=ratio)
    assert picture.image.shape == (resolution, resolution, 3) and picture.alpha.shape == (resolution, resolution)
    assert picture.image.dtype == picture.alpha.dtype == np.float32
    # Moments of the cover know the ellipse's centre and half-axes to a fraction of a pixel: area π a b, variance a²/4.
    weight = picture.alpha / picture.alpha.sum()
    place = np.arange(resolution) + 0.5
    middle = np.asarray([(weight.sum(1) * place).sum(), (weight.sum(0) * place).sum()])
    np.testing.assert_allclose(middle, resolution / 2, atol=0.02 * resolution * ratio)
    width = 4 * np.sqrt((weight.sum(0) * (place - middle[1]) ** 2).sum())
    assert width == pytest.approx(ratio * resolution, rel=0.03)
    area = np.pi * (ratio * resolution / 2) ** 2 * RADII[0] / RADII[1]
    assert picture.alpha.sum() == pytest.approx(area, rel=0.04)


def test_framing_is_the_analytic_ellipse():
    """The whole way against the ellipse drawn at the place where it must land."""
    pixels = cut_out().astype(np.float32) / 255
    premultiplied = np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], -1)
    picture = frame_object(premultiplied, resolution=64, foreground_ratio=0.8)
    zoom = 0.8 * 64 / 88
    expected = ellipse(64, 64, (32, 32), (30 * zoom, 44 * zoom))
    np.testing.assert_allclose(picture.alpha, expected, atol=0.12)
    assert np.abs(picture.alpha - expected).mean() < 0.005
    color = np.asarray(RED) / 255
    np.testing.assert_allclose(
        picture.image, picture.alpha[..., None] * color + 1 - picture.alpha[..., None], atol=1e-4
    )


def test_own_framing_is_kept_on_demand():
    premultiplied = np.repeat(ellipse()[..., None], 4, -1)
    picture = frame_object(premultiplied, resolution=160, foreground_ratio=None)
    np.testing.assert_allclose(picture.alpha[20:140], ellipse(), atol=1e-6)
    assert picture.alpha[:20].max() == picture.alpha[140:].max() == 0


def test_downscaling_averages_areas():
    noise = np.random.default_rng(0).random((256, 256, 4), np.float32)
    picture = frame_object(noise, resolution=64, foreground_ratio=None)
    expected = noise.reshape(64, 4, 64, 4, 4).mean((1, 3))
    np.testing.assert_allclose(picture.alpha, expected[..., 3], atol=1e-5)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.5, float("nan")])
def test_impossible_ratio(ratio):
    with pytest.raises(UserError, match="foreground ratio"):
        frame_object(np.ones((8, 8, 4), np.float32), resolution=8, foreground_ratio=ratio)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_alpha_is_used_whatever_hides_under_it(tmp_path, name):
    pixels = cut_out()
    pixels[..., :3][pixels[..., 3] == 0] = np.random.default_rng(0).integers(0, 255, (3,))
    path = save(tmp_path, name, pixels, **({"lossless": True} if name.endswith("webp") else {}))
    premultiplied = isolate_object(read_image(path))
    np.testing.assert_allclose(premultiplied[..., 3], ellipse(), atol=0.05)  # what is fainter than that is dropped
    np.testing.assert_allclose(premultiplied[..., 0], premultiplied[..., 3] * 200 / 255, atol=1e-6)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (90, 160, 90), (250, 245, 240)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_plain_background_is_removed(tmp_path, name, background):
    path = save(tmp_path, name, on_plain(background), **({} if name.endswith("png") else {"quality": 90}))
    premultiplied = isolate_object(read_image(path))
    alpha, truth = premultiplied[..., 3], ellipse()
    lossless = name.endswith("png")
    # JPEG and lossy WebP store colour at half the resolution: red on green bleeds by two pixels.
    assert np.abs(alpha - truth).mean() < (0.002 if lossless else 0.012)
    assert np.minimum(alpha, truth).sum() / np.maximum(alpha, truth).sum() > (0.99 if lossless else 0.96)
    # No tint of the background is left: on white, the object looks as it would have been photographed there.
    on_white = premultiplied[..., :3] + 1 - alpha[..., None]
    expected = on_plain((255, 255, 255)) / 255
    assert np.abs(on_white - expected).mean() < (0.003 if lossless else 0.012)


def test_inside_in_the_background_colour_stays():
    pixels = on_plain((255, 255, 255))
    pixels[45:55, 80:100] = 255  # a label
    matted = isolate_object(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))
    assert matted[45:55, 80:100, 3].min() == 1


def test_dust_does_not_decide_the_frame(tmp_path):
    pixels = cut_out()
    pixels[2, 3] = (0, 0, 0, 255)
    plain = on_plain((255, 255, 255))
    plain[110, 8] = 0
    for name, dusty in [("a.png", pixels), ("b.png", plain)]:
        top, bottom, left, right = box_of(
            load_framed(save(tmp_path, name, dusty), resolution=88, foreground_ratio=0.75).alpha
        )
        assert right - left == pytest.approx(66, abs=2) and abs(left + right - 88) <= 1 and abs(top + bottom - 88) <= 1


def test_object_may_touch_the_border():
    pixels = np.full((60, 60, 3), 240, np.uint8)
    pixels[30:, 20:50] = (20, 60, 120)
    alpha = isolate_object(np.dstack([pixels, np.full((60, 60), 255, np.uint8)]))[..., 3]
    assert alpha[32:, 22:48].min() == 1 and alpha[:28].max() == 0


def test_noisy_background_is_still_plain():
    noise = np.random.default_rng(0).normal(0, 4, (HEIGHT, WIDTH, 3))
    pixels = np.clip(on_plain((200, 200, 205)) + noise, 0, 255).astype(np.uint8)
    alpha = isolate_object(np.dstack([pixels, np.full((HEIGHT, WIDTH), 255, np.uint8)]))[..., 3]
    truth = ellipse()
    assert np.minimum(alpha, truth).sum() / np.maximum(alpha, truth).sum() > 0.97


def test_light_that_falls_off_and_dark_corners():
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    light = (0.75 + 0.12 * rows + 0.05 * columns)[..., None] * np.asarray([255, 250, 240])
    cover = ellipse()[..., None]
    pixels = np.round(cover * np.asarray(RED) + (1 - cover) * light).astype(np.uint8)
    pixels[:6, :6] = 30
    pixels[-5:, -9:] = 60
    alpha = isolate_object(np.dstack([pixels, np.full((HEIGHT, WIDTH), 255, np.uint8)]))[..., 3]
    assert alpha[:8, :8].max() == alpha[-8:, -12:].max() == 0
    assert np.minimum(alpha, cover[..., 0]).sum() / np.maximum(alpha, cover[..., 0]).sum() > 0.98


def test_palette(tmp_path):
    """A palette PNG with one transparent entry, as an export for the web writes it."""
    index = (ellipse() > 0.5).astype(np.uint8)
    image = Image.fromarray(index)
    image = image.convert("P")
    image.putpalette([10, 20, 30, *RED])
    image.save(tmp_path / "a.png", transparency=0)
    with Image.open(tmp_path / "a.png") as again:
        assert again.mode == "P"
    pixels = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels[..., 3], index * 255)
    assert (pixels[index == 1][:, :3] == RED).all()


def test_grey_with_16_bits(tmp_path):
    cover = ellipse()
    deep = np.round(65535 * (cover * 0.3 + (1 - cover) * 1.0)).astype(np.uint16)
    path = save(tmp_path, "a.png", deep)
    with Image.open(path) as again:
        assert again.mode.startswith("I")
    pixels = read_image(path)
    np.testing.assert_allclose(pixels[..., 1] / 255, deep / 65535, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(isolate_object(pixels)[..., 3], cover, atol=0.06)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "CMYK"])
def test_other_modes(tmp_path, mode):
    image = Image.fromarray(on_plain((255, 255, 255))).convert(mode)
    name = "a.jpg" if mode == "CMYK" else "a.png"
    image.save(tmp_path / name)
    alpha = isolate_object(read_image(tmp_path / name))[..., 3]
    assert np.minimum(alpha, ellipse()).sum() / np.maximum(alpha, ellipse()).sum() > (0.85 if mode == "1" else 0.96)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation(tmp_path, name, orientation):
    """The tag says how the camera was turned; stored pixels are turned back by it (EXIF 2.3, tag 0x0112)."""
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]  # counter-clockwise quarter turns that undo it
    upright = on_plain((255, 255, 255))
    upright[:10, :10] = (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, name, np.ascontiguousarray(np.rot90(upright, turns)), exif=exif)
    pixels = read_image(path)
    assert pixels.shape == (HEIGHT, WIDTH, 4)
    assert np.abs(pixels[..., :3].astype(int) - upright).mean() < 6


def test_arrays_and_files_agree(tmp_path):
    pixels = cut_out()
    path = save(tmp_path, "a.png", pixels)
    from_file = load_framed(path, resolution=32)
    for array in (pixels, pixels.astype(np.float32) / 255):
        for ours, theirs in zip(load_framed(array, resolution=32), from_file, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_large_pictures_are_reduced_first(tmp_path):
    big = np.full((3000, 4100, 3), 255, np.uint8)
    big[500:1500, 1000:3000] = RED
    picture = load_framed(save(tmp_path, "a.png", big), resolution=64, foreground_ratio=0.75)
    top, bottom, left, right = box_of(picture.alpha)
    assert (top, bottom, left, right) == pytest.approx((20, 44, 8, 56), abs=1)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="none.png"):
        load_framed(tmp_path / "none.png", resolution=8)
    with pytest.raises(UserError, match="cannot read"):
        load_framed(tmp_path, resolution=8)


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"GIF89a\x01\x00\x01\x00", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8 "]
)
def test_not_a_picture(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="a.png") as caught:
        load_framed(tmp_path / "a.png", resolution=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_truncated_and_corrupted(tmp_path, name):
    """Whatever bytes come, it is a picture or a `DataError`."""
    content = save(tmp_path, name, on_plain((255, 255, 255))).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=name):
        read_image(tmp_path / name)
    draw = np.random.default_rng(0)
    for _ in range(100):
        broken = np.frombuffer(content, np.uint8).copy()
        broken[draw.integers(0, len(broken), 4)] = draw.integers(0, 256, 4)
        (tmp_path / name).write_bytes(broken.tobytes())
        try:
            read_image(tmp_path / name)
        except DataError:
            continue


def test_smaller_than_a_patch(tmp_path):
    path = save(tmp_path, "a.png", cut_out()[:7])
    with pytest.raises(DataError, match="160×7 pixels, smaller than a patch"):
        load_framed(path, resolution=64, smallest_side=8)
    speck = np.zeros((64, 64, 4), np.uint8)
    speck[10:13, 20:24] = 255
    with pytest.raises(DataError, match="object in .* is 4×3 pixels, smaller than a patch"):
        load_framed(save(tmp_path, "b.png", speck), resolution=64, smallest_side=8)


def test_fully_transparent(tmp_path):
    pixels = cut_out()
    pixels[..., 3] = 0
    with pytest.raises(DataError, match="fully transparent"):
        load_framed(save(tmp_path, "a.png", pixels), resolution=64)


def test_nothing_but_background(tmp_path):
    with pytest.raises(DataError, match="shows no object"):
        load_framed(save(tmp_path, "a.png", np.full((64, 64, 3), 130, np.uint8)), resolution=64)


def test_busy_background(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    with pytest.raises(DataError, match="busy background: give a cut-out"):
        load_framed(save(tmp_path, "a.png", noise), resolution=64)


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.full((4, 4, 3), 2.0), np.zeros((4, 4, 3), np.int32)])
def test_bad_arrays(array):
    with pytest.raises(DataError, match="as an array|as floats"):
        load_framed(array, resolution=8)


def test_the_example_is_usable(request):
    picture = load_framed(request.config.rootpath / "assets" / "example.png", resolution=64, smallest_side=8)
    top, bottom, left, right = box_of(picture.alpha)
    assert max(bottom - top, right - left) == pytest.approx(0.72 * 64, abs=2)
    assert 0.15 < picture.alpha.mean() < 0.4
