"""Files of 0 A.D. in small, written field by field as its formats are documented."""

import io
import struct
import zipfile

import numpy as np
from PIL import Image


def pmd(positions, faces, *, uv=None, bones=(), owners=None, points=()):
    """A mesh: bones are (translation, quaternion xyzw), points (name, translation, quaternion, bone)."""
    positions = np.asarray(positions, float)
    uv = np.zeros((len(positions), 2)) if uv is None else np.asarray(uv)
    owners = np.full((len(positions), 1), 255) if owners is None else np.asarray(owners).reshape(len(positions), -1)
    body = struct.pack("<II", len(positions), 1)
    for position, texel, owner in zip(positions, uv, owners, strict=True):
        numbers = [*owner, *[255] * (4 - len(owner))]
        held = sum(one != 255 for one in numbers)
        weights = [0.0 if one == 255 else 1 / held for one in numbers]
        body += struct.pack("<3f3f2f4B4f", *position, 0, 1, 0, *texel, *numbers, *weights)
    body += struct.pack("<I", len(faces)) + b"".join(struct.pack("<3H", *face) for face in faces)
    body += struct.pack("<I", len(bones)) + b"".join(struct.pack("<7f", *move, *turn) for move, turn in bones)
    body += struct.pack("<I", len(points))
    for name, move, turn, bone in points:
        body += struct.pack("<I", len(name)) + name.encode() + struct.pack("<7fB", *move, *turn, bone)
    return b"PSMD" + struct.pack("<II", 4, len(body)) + body


def psa(poses, frames=2):
    """An animation that begins with these poses."""
    first = b"".join(struct.pack("<7f", *move, *turn) for move, turn in poses)
    body = struct.pack("<I", 4) + b"idle" + struct.pack("<fII", 33.0, len(poses), frames)
    body += first + b"\0" * len(first) * (frames - 1)
    return b"PSSA" + struct.pack("<II", 1, len(body)) + body


def dds(color):
    """A texture of one colour, RGBA."""
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), color).save(file, "DDS")
    return file.getvalue()


def ball(center=(0.0, 0.0, 0.0), radius=1.0, rows=5, columns=8):
    """Positions and faces of a closed surface of 72 triangles or so."""
    polar = np.linspace(0, np.pi, rows + 1)
    around = np.arange(columns) * 2 * np.pi / columns
    p, a = np.meshgrid(polar, around, indexing="ij")
    points = np.stack([np.sin(p) * np.cos(a), np.cos(p), np.sin(p) * np.sin(a)], -1).reshape(-1, 3)
    faces = []
    for row in range(rows):
        for column in range(columns):
            one, two = row * columns + column, row * columns + (column + 1) % columns
            faces += [(one, two, one + columns), (two, two + columns, one + columns)]
    return points * radius + center, faces


def actor(mesh="", texture="", props=(), material="default.xml", more="", groups=""):
    """An actor of one group, and others if they are given."""
    attached = "".join(f'<prop actor="{name}" attachpoint="{point}"/>' for point, name in props)
    return (
        f'<actor version="1"><group><variant frequency="1" name="Base"><mesh>{mesh}</mesh>{more}'
        f'<textures><texture file="{texture}" name="baseTex"/></textures><props>{attached}</props></variant></group>'
        f"{groups}<material>{material}</material></actor>"
    )


MATERIALS = {
    "default.xml": "<material><shader effect='model'/></material>",
    "basic_trans.xml": "<material><alpha_blending/><define name='USE_TRANSPARENT' value='1'/></material>",
    "player_trans.xml": "<material><define name='USE_PLAYERCOLOR' value='1'/></material>",
    "objectcolor.xml": "<material><define name='USE_OBJECTCOLOR' value='1'/></material>",
    "player_water.xml": "<material><define name='USE_PLAYERCOLOR' value='1'/></material>",
}


def archive(file, actors, *, meshes=(), textures=(), animations=(), templates=(), variants=(), credits="{}"):
    """The game's archive, with names as the real one has them."""
    with zipfile.ZipFile(file, "w") as out:
        for name, text in MATERIALS.items():
            out.writestr(f"art/materials/{name}", text)
        for name, text in dict(actors).items():
            out.writestr(f"art/actors/{name}.xml", text)
            out.writestr(f"art/actors/{name}.xml.cached.xmb", b"cached")
        for name, data in dict(meshes).items():
            out.writestr(f"art/meshes/{name}.dae.cached.pmd", data)
        for name, data in dict(textures).items():
            out.writestr(f"art/textures/skins/{name}.png.cached.dds", data)
        for name, data in dict(animations).items():
            out.writestr(f"art/animation/{name}.dae.cached.psa", data)
        for name, text in dict(variants).items():
            out.writestr(f"art/variants/{name}.xml", text)
        for name, text in dict(templates).items():
            out.writestr(f"simulation/templates/{name}.xml", text)
        out.writestr("gui/credits/texts/art.json", credits)
    return file
