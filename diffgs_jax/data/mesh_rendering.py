"""Pictures of meshes by OpenGL, off screen: any GPU, or Mesa's software renderer.

Needs `moderngl` (`pip install diffgs_jax[data]`) and EGL (Debian: libegl1, libgl1-mesa-dri), which are looked for when
the first picture is made.
"""

import importlib
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diffgs_jax.data.mesh_light import CUT_OUT, GROUND, SKY, SUN, SUN_STRENGTH
from diffgs_jax.data.mesh_loading import MeshPart
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras

SUPERSAMPLING = 4
"""Samples along each axis of a pixel."""

_VERTEX_SHADER = """
#version 330
uniform mat4 clip_from_world;
in vec3 position; in vec3 normal; in vec2 uv; in vec4 color;
out vec3 world; out vec3 shading_normal; out vec2 texel; out vec4 tint;
void main() {
    world = position; shading_normal = normal; texel = uv; tint = color;
    gl_Position = clip_from_world * vec4(position, 1.0);
}
"""

# The interpolated normal is put on the viewer's side by the true surface's normal, not by its own angle to the view,
# so a rounded surface keeps its shade up to its outline.
_FRAGMENT_SHADER = """
#version 330
uniform sampler2D image; uniform bool textured; uniform bool blended; uniform vec3 eye;
uniform vec3 sun; uniform float sun_strength; uniform float sky; uniform float ground; uniform float cut_out;
in vec3 world; in vec3 shading_normal; in vec2 texel; in vec4 tint;
out vec4 result;
void main() {
    vec4 base = textured ? texture(image, texel) : vec4(1.0);
    if (base.a < cut_out) discard;
    base.rgb /= base.a;
    float alpha = blended ? tint.a : 1.0;
    vec3 surface = cross(dFdx(world), dFdy(world));
    surface *= dot(surface, eye - world) < 0.0 ? -1.0 : 1.0;
    vec3 n = dot(shading_normal, shading_normal) > 0.01 ? normalize(shading_normal) : normalize(surface);
    n *= dot(n, surface) < 0.0 ? -1.0 : 1.0;
    float light = mix(ground, sky, 0.5 + 0.5 * n.z) * (1.0 - sun_strength) + sun_strength * max(0.0, dot(n, sun));
    result = vec4(clamp(base.rgb * tint.rgb * light, 0.0, 1.0) * alpha, alpha);
}
"""


class MeshRenderer:
    """An OpenGL context and the program in it; one for each process."""

    def __init__(self, size: int):
        """Opens the context.

        Args:
            size: height and width of the pictures, pixels.

        Raises:
            UserError: if there is no moderngl or no way to render off screen.
        """
        try:
            moderngl: Any = importlib.import_module("moderngl")
        except ImportError:
            raise UserError("rendering meshes needs moderngl: pip install 'diffgs_jax[data]'") from None
        try:
            context = moderngl.create_context(standalone=True, backend="egl")
        except Exception as error:  # glcontext raises bare Exceptions
            raise UserError(f"no off-screen OpenGL ({error}): install EGL (Debian: libegl1 libgl1-mesa-dri)") from None
        self._gl, self._context = moderngl, context
        self._size, self._fine = size, size * SUPERSAMPLING
        self._program = context.program(vertex_shader=_VERTEX_SHADER, fragment_shader=_FRAGMENT_SHADER)
        for name, value in (("sun", tuple(SUN)), ("sun_strength", SUN_STRENGTH), ("sky", SKY), ("ground", GROUND)):
            self._program[name].value = value
        self._program["cut_out"].value = CUT_OUT
        shape = (self._fine, self._fine)
        self._frame = context.framebuffer([context.texture(shape, 4)], context.depth_renderbuffer(shape))

    def render(self, parts: list[MeshPart], cameras: Cameras) -> UInt8[np.ndarray, "n s s 4"]:
        """Returns RGBA pictures, straight alpha, transparent where there is nothing.

        Args:
            parts: an object in the object frame.
            cameras: `[n]` cameras outside the unit sphere.
        """
        solid = [self._upload(part) for part in parts if not part.blended]
        glass = [part for part in parts if part.blended]
        pictures = []
        for pose, intrinsics in zip(cameras.camera_to_world, cameras.intrinsics, strict=True):
            pose, intrinsics = np.asarray(pose, np.float64), np.asarray(intrinsics, np.float64)
            self._draw(solid, glass, pose, intrinsics)
            # RGBa is Pillow's name for colours multiplied by alpha, which average channel by channel.
            fine = Image.frombytes("RGBa", (self._fine, self._fine), self._frame.read(components=4))
            pictures.append(np.asarray(fine.reduce(SUPERSAMPLING).convert("RGBA")))
        for uploaded in solid:
            _release(uploaded)
        return np.stack(pictures)

    def close(self) -> None:
        """Frees the context."""
        self._context.release()

    def _draw(self, solid: list[tuple], glass: list[MeshPart], pose: np.ndarray, intrinsics: np.ndarray) -> None:
        gl, context, program = self._gl, self._context, self._program
        self._frame.use()
        self._frame.depth_mask = True  # also what lets the depth be cleared
        self._frame.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        program["clip_from_world"].write(_clip_from_world(pose, intrinsics).T.astype("f4").tobytes())
        program["eye"].value = tuple(pose[:3, 3])
        context.enable_only(gl.DEPTH_TEST)
        for uploaded in solid:
            self._draw_part(uploaded, blended=False)
        if not glass:
            return
        context.enable(gl.BLEND)
        context.blend_func = gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        self._frame.depth_mask = False
        for part in _far_to_near(glass, pose[:3, 3]):
            uploaded = self._upload(part)
            self._draw_part(uploaded, blended=True)
            _release(uploaded)

    def _draw_part(self, uploaded: tuple, *, blended: bool) -> None:
        vertices, _, texture = uploaded
        self._program["textured"].value = texture is not None
        self._program["blended"].value = blended
        if texture is not None:
            texture.use(0)
        vertices.render(self._gl.TRIANGLES)

    def _upload(self, part: MeshPart) -> tuple:
        corners = np.concatenate([part.positions, part.normals, part.uv, part.colors], axis=-1)
        buffer = self._context.buffer(corners.astype("f4").tobytes())
        layout = [(buffer, "3f 3f 2f 4f", "position", "normal", "uv", "color")]
        texture = None
        if part.texture is not None:
            # Premultiplied, so that smaller copies of the texture do not mix in the colour of holes.
            alpha = part.texture[..., 3:].astype(np.uint16)
            pixels = part.texture.copy()
            pixels[..., :3] = part.texture[..., :3] * alpha // 255
            height, width = pixels.shape[:2]
            texture = self._context.texture((width, height), 4, pixels[::-1].tobytes(), alignment=1)
            texture.build_mipmaps()
            # No anisotropic filtering: on some textures Mesa 22.3's software renderer never comes back from it.
            texture.repeat_x = texture.repeat_y = True
        return self._context.vertex_array(self._program, layout), buffer, texture


def _clip_from_world(pose: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Returns the OpenGL matrix of an OpenCV camera; image row 0 comes first when the frame is read."""
    fx, fy, cx, cy = intrinsics
    distance = float(np.linalg.norm(pose[:3, 3]))
    near, far = max(0.01, distance - 1.5), distance + 1.5
    depth = (far + near) / (far - near), -2 * far * near / (far - near)
    projection = np.asarray(
        [[2 * fx, 0, 2 * cx - 1, 0], [0, 2 * fy, 2 * cy - 1, 0], [0, 0, *depth], [0, 0, 1, 0]], np.float64
    )
    return projection @ np.linalg.inv(pose)


def _far_to_near(parts: list[MeshPart], eye: np.ndarray) -> list[MeshPart]:
    """Sorts glass by distance, first whole parts, then the triangles in each."""
    sorted_parts = []
    for part in parts:
        distance = np.linalg.norm(part.positions.mean(axis=1) - eye, axis=1)
        order = np.argsort(-distance)
        arrays = [array[order] for array in (part.positions, part.normals, part.uv, part.colors)]
        sorted_parts.append((-distance.mean(), MeshPart(*arrays, part.texture, True)))
    return [part for _, part in sorted(sorted_parts, key=lambda pair: pair[0])]


def _release(uploaded: tuple[Any, Any, Any]) -> None:
    for resource in uploaded:
        if resource is not None:
            resource.release()
