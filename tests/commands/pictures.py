"""A drawer full of pictures, as users have them: photographs, cut-outs, drawings, odd formats and broken files."""

import pathlib
import shutil
import struct
import zlib

import cv2
import numpy as np
import skimage.data
from PIL import Image, ImageDraw

PHOTOGRAPHS = pathlib.Path(skimage.data.__file__).parent


def mug(size=(120, 90), background=(255, 255, 255, 255)):
    """A red mug with a handle, RGBA."""
    picture = Image.new("RGBA", size, background)
    draw = ImageDraw.Draw(picture)
    width, height = size
    draw.rectangle((0.3 * width, 0.2 * height, 0.6 * width, 0.8 * height), (200, 40, 30, 255))
    draw.arc((0.5 * width, 0.3 * height, 0.75 * width, 0.65 * height), -90, 90, (190, 60, 50, 255), width // 20)
    return picture


def damaged(path, part):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def fill(folder):
    """Writes the pictures and returns, for each, None if it is to become files, or a part of the line to be said."""
    folder.mkdir()
    opaque, clear = mug().convert("RGB"), mug(background=(0, 0, 0, 0))
    expected = {}

    def save(name, picture, error=None, **options):
        picture.save(folder / name, **options)
        expected[name] = error

    # What people take and draw
    for name, error in {
        "astronaut.png": "busy background",
        "coffee.png": "busy background",
        "chelsea.png": "busy background",
        "camera.png": "busy background",
        "motorcycle_left.png": "busy background",
        "rocket.jpg": "busy background",
        "coins.png": None,  # in front of dark cloth
        "moon.png": None,
        "hubble_deep_field.jpg": None,
        "retina.jpg": None,  # a disc on black
        "horse.png": None,  # a silhouette
        "logo.png": None,  # a cut-out
        "page.png": None,
        "no_time_for_that_tiny.gif": "busy background",
        "multipage_rgb.tif": "a TIFF file",
    }.items():
        shutil.copy(PHOTOGRAPHS / name, folder)
        expected[name] = error
    drawing = Image.new("L", (200, 160), 250)
    ImageDraw.Draw(drawing).line([(40, 40), (150, 50), (120, 130), (50, 120), (40, 40)], 20, 3)
    save("drawing.png", drawing)

    # Kinds of pixels
    save("cut out.png", clear)
    save("plain.jpg", opaque, quality=80)
    save("UPPER.JPG", opaque, quality=95, progressive=True)
    save("grey.png", opaque.convert("L"))
    save("one bit.png", opaque.convert("1"))
    save("palette.png", clear.quantize(16))
    save("palette key.gif", opaque.quantize(8), transparency=opaque.quantize(8).getpixel((0, 0)))
    save("grey and alpha.png", clear.convert("LA"))
    save("cmyk.jpg", opaque.convert("CMYK"))
    save("grey 16.png", Image.fromarray(np.asarray(opaque.convert("L")).astype(np.uint16) * 257))
    cv2.imwrite(str(folder / "colour 16.png"), np.asarray(opaque)[..., ::-1].astype(np.uint16) * 257)
    expected["colour 16.png"] = None
    save("floats.tif", Image.fromarray(np.asarray(opaque.convert("L")).astype(np.float32) / 255), "a TIFF file")
    save("ycbcr.tif", opaque.convert("YCbCr"), "a TIFF file", compression="jpeg")
    save("bitmap.bmp", opaque)
    save("lossless.webp", clear, lossless=True)
    save("ünïcode 杯.png", clear)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    save("turned.jpg", opaque.transpose(Image.Transpose.ROTATE_90), exif=exif)
    second = {"save_all": True, "append_images": [opaque.rotate(90)], "duration": 100}
    for name in ("animated.gif", "animated.webp", "animated.png"):
        save(name, opaque, **second)
    save("same name.png", clear)
    save("same name.bmp", opaque)

    # Sizes
    save("one pixel.png", Image.new("RGB", (1, 1), "red"), "1×1 pixels, smaller than a patch of the model")
    save("8k.png", mug((7680, 4320)).convert("RGB"), compress_level=1)
    save("banner.png", mug((2500, 40)).convert("RGB"))
    save("speck.png", mug((3000, 3000), (0, 0, 0, 0)).resize((4, 4)).crop((-300, -300, 300, 300)), "smaller than")
    (folder / "bomb.png").write_bytes(png_of_size(60000, 60000))
    expected["bomb.png"] = "too many pixels"

    # Nothing to see
    save("clear.png", Image.new("RGBA", (50, 50)), "fully transparent")
    save("white.png", Image.new("RGB", (50, 50), "white"), "shows no object")

    # Not pictures
    for name, content, error in (
        ("text.png", b"Dear diary", "a text file; give a PNG"),
        ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG or XML file"),
        ("empty.png", b"", "is empty"),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "a HEIC file"),
        ("noise.webp", np.random.default_rng(0).bytes(3000), "of another kind; give a PNG"),
    ):
        (folder / name).write_bytes(content)
        expected[name] = error
    (folder / "folder.png").mkdir()
    expected["folder.png"] = "it is a folder"
    for name, part in (("cut short.png", 0.6), ("cut short.jpg", 0.5), ("cut short.gif", 0.5)):
        save(name, opaque, "truncated" if name.endswith("png") else "damaged")
        damaged(folder / name, part)
    (folder / "README.txt").write_text("left alone")
    return expected


def png_of_size(width, height):
    """A PNG that claims to be large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
