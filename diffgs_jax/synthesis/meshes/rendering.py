"""Pictures of meshes by OpenGL, off screen: any GPU, or Mesa's software renderer.

Needs `moderngl` (`pip install diffgs_jax[data]`) and EGL (Debian: libegl1, libgl1-mesa-dri), which are looked for when
the first picture is made.
"""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras
from diffgs_jax.synthesis.meshes.light import CUT_OUT, GAMMA, GROUND, SKY, SUN, SUN_STRENGTH
from diffgs_jax.synthesis.meshes.loading import MeshPart, Surfaces

SUPERSAMPLING = 4
"""Samples along each axis of a pixel."""

_VERTEX_SHADER = """
#version 330
uniform mat4 clip_from_world;
in vec3 position; in vec3 normal; in vec2 uv; in vec4 color; in vec3 light_here; in vec3 light_behind;
out vec3 world; out vec3 shading_normal; out vec2 texel; out vec4 tint; out vec3 lit_here; out vec3 lit_behind;
void main() {
    world = position; shading_normal = normal; texel = uv; tint = color;
    lit_here = light_here; lit_behind = light_behind;
    gl_Position = clip_from_world * vec4(position, 1.0);
}
"""

# The interpolated normal is put on the viewer's side by the true surface's normal, not by its own angle to the view,
# so a rounded surface keeps its shade up to its outline.
_FRAGMENT_SHADER = """
#version 330
uniform sampler2D image; uniform bool textured; uniform bool blended; uniform vec3 eye; uniform vec3 forward;
uniform vec3 sun; uniform float sun_strength; uniform float sky; uniform float ground; uniform float cut_out;
uniform bool surfaces; uniform bool lit; uniform float gamma; uniform bool linear;
in vec3 world; in vec3 shading_normal; in vec2 texel; in vec4 tint; in vec3 lit_here; in vec3 lit_behind;
out vec4 result;
vec3 decoded(vec3 shown) {
    return mix(pow((shown + 0.055) / 1.055, vec3(2.4)), shown / 12.92, lessThanEqual(shown, vec3(0.04045)));
}
vec3 encoded(vec3 sent) {
    return mix(1.055 * pow(sent, vec3(1.0 / 2.4)) - 0.055, 12.92 * sent, lessThanEqual(sent, vec3(0.0031308)));
}
void main() {
    vec4 base = textured ? texture(image, texel) : vec4(1.0);
    float alpha = base.a * tint.a;
    if (base.a <= 0.0 || alpha < (blended ? 0.002 : cut_out)) discard;
    base.rgb /= base.a;
    alpha = blended ? min(alpha, 1.0) : 1.0;
    vec3 surface = cross(dFdx(world), dFdy(world));
    surface *= dot(surface, eye - world) < 0.0 ? -1.0 : 1.0;
    vec3 n = dot(shading_normal, shading_normal) > 0.01 ? normalize(shading_normal) : normalize(surface);
    bool behind = dot(n, surface) < 0.0;
    n *= behind ? -1.0 : 1.0;
    if (surfaces) {
        if (alpha < cut_out) discard;
        result = vec4(n, dot(forward, world - eye));
        return;
    }
    vec3 color = linear ? encoded(clamp(decoded(base.rgb) * tint.rgb, 0.0, 1.0)) : base.rgb * tint.rgb;
    if (lit) {
        vec3 sent = pow(max(color, 0.0), vec3(gamma)) * (behind ? lit_behind : lit_here);
        color = pow(1.0 - exp(-max(sent, 0.0)), vec3(1.0 / gamma));
    } else {
        color *= mix(ground, sky, 0.5 + 0.5 * n.z) * (1.0 - sun_strength) + sun_strength * max(0.0, dot(n, sun));
    }
    result = vec4(clamp(color, 0.0, 1.0) * alpha, alpha);
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
        self._program["cut_out"].value, self._program["gamma"].value = CUT_OUT, GAMMA
        shape, fine = (size, size), (self._fine, self._fine)
        self._frame = context.framebuffer([context.texture(fine, 4)], context.depth_renderbuffer(fine))
        self._surfaces = context.framebuffer([context.texture(shape, 4, dtype="f4")], context.depth_renderbuffer(shape))

    def render(self, parts: list[MeshPart], cameras: Cameras) -> UInt8[np.ndarray, "n s s 4"]:
        """Returns RGBA pictures, straight alpha, transparent where there is nothing.

        Args:
            parts: an object in the object frame, or a room around the cameras.
            cameras: `[n]`.
        """
        self._program["surfaces"].value = False
        return np.stack(list(self._drawn(parts, cameras, self._frame, self._picture)))

    def render_surfaces(self, parts: list[MeshPart], cameras: Cameras) -> Surfaces:
        """Returns the depth and the normals of what `render` shows.

        Args:
            parts: as for `render`.
            cameras: as for `render`.
        """
        self._program["surfaces"].value = True
        values = np.stack(list(self._drawn(parts, cameras, self._surfaces, self._values)))
        values[values[..., 3] <= 0] = np.nan
        return Surfaces(values[..., 3], values[..., :3])

    def close(self) -> None:
        """Frees the context."""
        self._context.release()

    def _drawn(
        self, parts: list[MeshPart], cameras: Cameras, frame: Any, read: Callable[[], np.ndarray]
    ) -> Iterator[np.ndarray]:
        solid = [self._upload(part) for part in parts if not part.blended]
        glass = [part for part in parts if part.blended]
        bounds = np.stack([part.positions.reshape(-1, 3).min(axis=0) for part in parts]).min(axis=0)
        bounds = bounds, np.stack([part.positions.reshape(-1, 3).max(axis=0) for part in parts]).max(axis=0)
        try:
            for pose, intrinsics in zip(cameras.camera_to_world, cameras.intrinsics, strict=True):
                pose, intrinsics = np.asarray(pose, np.float64), np.asarray(intrinsics, np.float64)
                self._program["clip_from_world"].write(_clip_from_world(pose, intrinsics, bounds).T.tobytes())
                self._draw(solid, glass, pose, frame)
                yield read()
        finally:
            for uploaded in solid:
                _release(uploaded)

    def _picture(self) -> np.ndarray:
        # RGBa is Pillow's name for colours multiplied by alpha, which average channel by channel.
        fine = Image.frombytes("RGBa", (self._fine, self._fine), self._frame.read(components=4))
        return np.asarray(fine.reduce(SUPERSAMPLING).convert("RGBA"))

    def _values(self) -> np.ndarray:
        read = self._surfaces.read(components=4, dtype="f4")
        return np.frombuffer(read, np.float32).reshape(self._size, self._size, 4)

    def _draw(self, solid: list[tuple], glass: list[MeshPart], pose: np.ndarray, frame: Any) -> None:
        gl, context, program = self._gl, self._context, self._program
        frame.use()
        frame.depth_mask = True  # also what lets the depth be cleared
        frame.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        program["eye"].value, program["forward"].value = tuple(pose[:3, 3]), tuple(pose[:3, 2])
        context.enable_only(gl.DEPTH_TEST)
        for uploaded in solid:
            self._draw_part(uploaded, blended=False)
        if not glass:
            return
        if frame is self._frame:
            context.enable(gl.BLEND)
            context.blend_func = gl.ONE, gl.ONE_MINUS_SRC_ALPHA
            frame.depth_mask = False
        for part in _far_to_near(glass, pose[:3, 3]):
            uploaded = self._upload(part)
            self._draw_part(uploaded, blended=True)
            _release(uploaded)

    def _draw_part(self, uploaded: tuple, *, blended: bool) -> None:
        vertices, _, texture, lit, linear = uploaded
        self._program["textured"].value, self._program["lit"].value = texture is not None, lit
        self._program["blended"].value, self._program["linear"].value = blended, linear
        if texture is not None:
            texture.use(0)
        vertices.render(self._gl.TRIANGLES)

    def _upload(self, part: MeshPart) -> tuple:
        corners, form = [part.positions, part.normals, part.uv, part.colors], "3f 3f 2f 4f"
        names = ["position", "normal", "uv", "color"]
        if part.light is not None:
            corners += [part.light[:, :, 0], part.light[:, :, 1]]
            form, names = f"{form} 3f 3f", [*names, "light_here", "light_behind"]
        buffer = self._context.buffer(np.concatenate(corners, axis=-1, dtype=np.float32).tobytes())
        layout = [(buffer, form, *names)]
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
            texture.repeat_x, texture.repeat_y = not part.clamped[0], not part.clamped[1]
        vertices = self._context.vertex_array(self._program, layout)
        return vertices, buffer, texture, part.light is not None, part.linear


def _clip_from_world(
    pose: np.ndarray, intrinsics: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]
) -> Float[np.ndarray, "4 4"]:
    """Returns the OpenGL matrix of an OpenCV camera; image row 0 comes first when the frame is read."""
    fx, fy, cx, cy = intrinsics
    radius = float(np.linalg.norm(bounds[1] - bounds[0])) / 2 + 0.01
    distance = float(np.linalg.norm(pose[:3, 3] - (bounds[0] + bounds[1]) / 2))
    near, far = max(0.02, distance - radius), distance + radius
    depth = (far + near) / (far - near), -2 * far * near / (far - near)
    projection = np.asarray(
        [[2 * fx, 0, 2 * cx - 1, 0], [0, 2 * fy, 2 * cy - 1, 0], [0, 0, *depth], [0, 0, 1, 0]], np.float64
    )
    return (projection @ np.linalg.inv(pose)).astype(np.float32)


def _far_to_near(parts: list[MeshPart], eye: np.ndarray) -> list[MeshPart]:
    """Sorts glass by distance, first whole parts, then the triangles in each."""
    sorted_parts = []
    for part in parts:
        distance = np.linalg.norm(part.positions.mean(axis=1) - eye, axis=1)
        order = np.argsort(-distance)
        sorted_parts.append((-distance.mean(), _in_order(part, order)))
    return [part for _, part in sorted(sorted_parts, key=lambda pair: pair[0])]


def _in_order(part: MeshPart, order: np.ndarray) -> MeshPart:
    arrays = {name: getattr(part, name)[order] for name in ("positions", "normals", "uv", "colors")}
    return part._replace(**arrays, light=None if part.light is None else part.light[order])


def _release(uploaded: tuple) -> None:
    for resource in uploaded[:3]:
        if resource is not None:
            resource.release()
