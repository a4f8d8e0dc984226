"""The colours of a glTF material: what its surface shows in white light, what it sends itself, what it hides.

Metal, roughness, relief and gloss do not count: renderers here show the base colour. What a surface sends is added to
it, and shaded like it.

Source: glTF 2.0 specification, section 3.9; KHR_materials_unlit, KHR_materials_emissive_strength and
KHR_materials_pbrSpecularGlossiness.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from diffgs_jax.errors import DataError
from diffgs_jax.interop.gltf.document import Document, extension, item, numbers
from diffgs_jax.meshing.color import linear_to_srgb, srgb_to_linear
from diffgs_jax.meshing.gltf._textures import PlacedTexture, TextureReader, unmirrored

AlphaMode = Literal["OPAQUE", "MASK", "BLEND"]
_DIELECTRIC = 0.04


class Look(NamedTuple):
    """A material, all colours linear: texture × factor × vertex colours + emitted.

    Attributes:
        factor: RGBA.
        texture: that repeats or goes on at its edges, or None.
        emitted: RGB, on top; 0 where there is a texture.
        alpha_mode: what alpha means.
        cutoff: alpha under which a surface is a hole, for MASK.
        vertex_colors: what they do: multiply it, do not matter because it is black but for what it emits, or cannot be
            had because what it emits is in the texture.
    """

    factor: Float[np.ndarray, "4"]
    texture: PlacedTexture | None
    emitted: Float[np.ndarray, "3"]
    alpha_mode: AlphaMode
    cutoff: float
    vertex_colors: Literal["multiply", "ignore", "refuse"]


def read_material(document: Document, number: Any, textures: TextureReader) -> Look:
    """Returns a material; the specification's default one for None.

    Raises:
        DataError: if it mixes textures in a way that is not implemented, or an image cannot be read.
        ValueError: if it is not as the specification demands.
    """
    material = {} if number is None else item(document.content, "materials", number)
    name = f"materials[{number}] of {document.path}"
    mode = material.get("alphaMode", "OPAQUE")
    if mode not in ("OPAQUE", "MASK", "BLEND"):
        raise ValueError(f"materials[{number}] has the alphaMode {str(mode)[:20]}")
    (cutoff,) = numbers(material.get("alphaCutoff"), (0.5,))
    glossy = extension(material, "KHR_materials_pbrSpecularGlossiness")
    if glossy is None:
        rough = material.get("pbrMetallicRoughness", {})
        factor = np.asarray(numbers(rough.get("baseColorFactor"), (1.0, 1.0, 1.0, 1.0)))
        texture = textures.read(rough.get("baseColorTexture"))
    else:
        factor, texture = _base_of_glossy(glossy, textures, name)
    if mode == "OPAQUE":
        factor[3] = 1.0
        texture = None if texture is None else texture._replace(pixels=_opaque(texture.pixels))
    look = Look(factor, texture, np.zeros(3), mode, cutoff, "multiply")
    if extension(material, "KHR_materials_unlit") is None:
        look = _with_emission(look, material, textures, name)
    return look if look.texture is None else look._replace(texture=unmirrored(look.texture))


def _with_emission(look: Look, material: dict[str, Any], textures: TextureReader, name: str) -> Look:
    glow = np.asarray(numbers(material.get("emissiveFactor"), (0.0, 0.0, 0.0)))
    strength = (extension(material, "KHR_materials_emissive_strength") or {}).get("emissiveStrength")
    glow = glow * numbers(strength, (1.0,))
    if not glow.any():
        return look
    lamp, base = textures.read(material.get("emissiveTexture")), look.texture
    if lamp is not None and not lamp.pixels[..., :3].any():
        return look
    if base is None and lamp is None:
        return look._replace(emitted=glow)
    dark = not look.factor[:3].any() or (base is not None and not base.pixels[..., :3].any())
    if dark and (base is None or look.alpha_mode == "OPAQUE"):
        alone = None if lamp is None else lamp._replace(pixels=_opaque(lamp.pixels))
        return look._replace(factor=np.append(glow, look.factor[3]), texture=alone, vertex_colors="ignore")
    if lamp is not None and base is not None and not lamp.placed_as(base):
        raise DataError(f"{name} has colour and emission at different places of its surface, which is not implemented")
    place = base or lamp
    assert place is not None  # one of them is there
    shape = _shape(base, lamp)
    base_map, lamp_map = _resized(base, shape), _resized(lamp, shape)
    light = look.factor[:3] * srgb_to_linear(base_map[..., :3]) + glow * srgb_to_linear(lamp_map[..., :3])
    both = np.concatenate([linear_to_srgb(np.clip(light, 0, 1)), base_map[..., 3:]], axis=-1)
    whole = place._replace(pixels=np.rint(255 * both).astype(np.uint8))
    return look._replace(factor=np.append(np.ones(3), look.factor[3]), texture=whole, vertex_colors="refuse")


def _base_of_glossy(
    glossy: dict[str, Any], textures: TextureReader, name: str
) -> tuple[np.ndarray, PlacedTexture | None]:
    """Returns factor and texture of the base colour: what is matt, and what is metal."""
    diffuse = np.asarray(numbers(glossy.get("diffuseFactor"), (1.0, 1.0, 1.0, 1.0)))
    specular = np.asarray(numbers(glossy.get("specularFactor"), (1.0, 1.0, 1.0)))
    matt, shine = textures.read(glossy.get("diffuseTexture")), textures.read(glossy.get("specularGlossinessTexture"))
    if matt is None and shine is None:
        return np.append(_base_color(diffuse[:3], specular), diffuse[3]), None
    if matt is not None and shine is not None and not shine.placed_as(matt):
        raise DataError(f"{name} has diffuse and specular colours at different places, which is not implemented")
    place = matt or shine
    assert place is not None  # one of them is there
    shape = _shape(matt, shine)
    matt_map, shine_map = _resized(matt, shape), _resized(shine, shape)
    base = _base_color(srgb_to_linear(matt_map[..., :3]) * diffuse[:3], srgb_to_linear(shine_map[..., :3]) * specular)
    whole = np.concatenate([linear_to_srgb(base), matt_map[..., 3:]], axis=-1)
    return np.append(np.ones(3), diffuse[3]), place._replace(pixels=np.rint(255 * whole).astype(np.uint8))


def _base_color(diffuse: np.ndarray, specular: np.ndarray) -> np.ndarray:
    """Converts a specular-glossy colour to a base colour; how much is metal follows from how bright both look.

    Source: Khronos' conversion beside KHR_materials_pbrSpecularGlossiness.
    """
    weights = np.asarray([0.299, 0.587, 0.114])
    seen, shining = np.sqrt(diffuse**2 @ weights), np.sqrt(specular**2 @ weights)
    rest = 1 - specular.max(axis=-1)
    b = seen * rest / (1 - _DIELECTRIC) + shining - 2 * _DIELECTRIC
    root = np.sqrt(np.maximum(b * b - 4 * _DIELECTRIC * (_DIELECTRIC - shining), 0.0))
    metal = np.where(shining < _DIELECTRIC, 0.0, np.clip((root - b) / (2 * _DIELECTRIC), 0.0, 1.0))[..., None]
    matt = diffuse * rest[..., None] / (1 - _DIELECTRIC) / np.maximum(1 - metal, 1e-6)
    shine = (specular - _DIELECTRIC * (1 - metal)) / np.maximum(metal, 1e-6)
    return np.clip(matt + (shine - matt) * metal**2, 0.0, 1.0)


def _shape(*textures: PlacedTexture | None) -> tuple[int, int]:
    """Returns the height and width that no texture is larger than."""
    shapes = [texture.pixels.shape for texture in textures if texture is not None]
    return max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)


def _resized(texture: PlacedTexture | None, shape: tuple[int, int]) -> Float[np.ndarray, "h w 4"]:
    """Returns a texture's values in [0, 1] at another size; white where there is none."""
    if texture is None:
        return np.ones((*shape, 4))
    return np.asarray(Image.fromarray(texture.pixels).resize(shape[::-1]), np.float64) / 255


def _opaque(pixels: np.ndarray) -> np.ndarray:
    return np.dstack([pixels[..., :3], np.full_like(pixels[..., :1], 255)])
