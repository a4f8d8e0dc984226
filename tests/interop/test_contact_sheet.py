import numpy as np
from PIL import Image

from diffgs_jax.geometry import OBJECT, Cameras, Views, orbit
from diffgs_jax.interop import write_contact_sheet


def test_condition_view_comes_first_and_pixels_are_kept(tmp_path):
    colors = np.asarray([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    images = np.broadcast_to(colors[None, :, None, None], (1, 3, 16, 16, 3)).copy()
    images[0, 1, 0, 0] = 1.0
    cameras = Cameras(*(leaf[None] for leaf in orbit(np.asarray([90.0, 0.0, 270.0]))))
    views = Views(images, cameras, np.asarray([[False, True, False]]), np.full(1, OBJECT, np.int32))
    write_contact_sheet(tmp_path / "views.png", views)
    first = (tmp_path / "views.png").read_bytes()
    write_contact_sheet(tmp_path / "views.png", views)
    assert (tmp_path / "views.png").read_bytes() == first
    with Image.open(tmp_path / "views.png") as sheet:
        pixels = np.asarray(sheet)
    side = 192
    middles = [pixels[6 + side // 2, 6 + side // 2 + place * (side + 6)] for place in range(3)]
    np.testing.assert_array_equal(middles, [[255, 0, 0], [0, 0, 255], [0, 255, 0]])
    assert (pixels[6:18, 6:18] == 255).all() and (
        pixels[6:18, 18:30] == [255, 0, 0]
    ).all()  # 1 pixel, 12 times as large
    assert (pixels[-24:-4] < 100).any()  # something is written under them
