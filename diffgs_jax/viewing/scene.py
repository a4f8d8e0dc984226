"""Splats and meshes as viser shows them: a server that browsers connect to, or one page that needs no server.

viser's client is a single file without anything fetched from elsewhere, so both work offline.
"""

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any, NamedTuple
from unittest import mock

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians, ObjectRig, covariances, sh_to_color
from diffgs_jax.interop import clean_gaussians
from diffgs_jax.viewing.hosts import is_allowed
from diffgs_jax.viewing.ports import find_port
from diffgs_jax.viewing.up import Up
from diffgs_jax.viewing.viewables import MeshFile, Viewable

_DISTANCE = 2.7  # in radii of what is shown, as the object frame has it
_ELEVATION = 20.0
_FOV = 50.0
_FAINTEST = 1 / 255  # what a rasterizer blends at all
_AXES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "z": ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    "y": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "-y": ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0)),
}  # up, and where the camera starts: the object frame's azimuth 0, glTF's front, in front of a first photo
_SILENCE = threading.Lock()


class StartCamera(NamedTuple):
    """Where a viewer's camera begins, and what it turns about.

    Attributes:
        position: `[3]` of the camera, world units.
        target: `[3]` the point in the middle of the picture.
        up: `[3]` the direction that stays upright.
        fov: vertical field of view, degrees.
    """

    position: Float[np.ndarray, "3"]
    target: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    fov: float


def start_camera(viewable: Viewable, up: Up = "z", rig: ObjectRig | None = None) -> StartCamera:
    """Places a camera in front of something, a little above, so that nearly all of it is in the picture.

    Args:
        viewable: what is seen.
        up: the axis that points up.
        rig: places the camera where the picture was taken from, instead of where the viewable fits.
    """
    upward, front = (np.asarray(axis) for axis in _AXES[up])
    if rig is not None:
        target, distance, elevation, fov = np.zeros(3), rig.distance, rig.elevation, rig.fov
    else:
        points = viewable.means if isinstance(viewable, Gaussians) else viewable.vertices
        points = np.asarray(points, np.float64)
        low, high = np.percentile(points, (1, 99), axis=0)  # a few strays do not push the camera away
        target = (low + high) / 2
        radius = np.percentile(np.linalg.norm(points - target[None], axis=1), 99)
        distance, elevation, fov = _DISTANCE * max(float(radius), 1e-6), _ELEVATION, _FOV
    angle = np.deg2rad(elevation)
    return StartCamera(target + distance * (np.cos(angle) * front + np.sin(angle) * upward), target, upward, fov)


@contextlib.contextmanager
def viewer_server(
    viewable: Viewable, *, host: str = "127.0.0.1", port: int = 8080, up: Up = "z", title: str | None = None
) -> Generator[Any, None, None]:
    """Serves a page that shows something, from threads of its own, until the block ends.

    Args:
        viewable: what is shown.
        host: address to listen at; 0.0.0.0 is every address of this machine.
        port: to listen at; 0 takes any that is free.
        up: the axis that points up.
        title: of the page's panel.

    Yields:
        The `viser.ViserServer`; `get_port()` is the port.

    Raises:
        UserError: if viser is not installed or the port cannot be had.
    """
    port = find_port(host, port)
    with _started(host, port, title) as server:
        if server.get_port() != port:  # taken between the look and the start, whereupon viser takes the next
            raise UserError(f"cannot listen at {host}, port {port}: it has just been taken; choose another --port")
        _fill(server, viewable, start_camera(viewable, up))
        with server.gui.add_folder("What is shown"):
            server.gui.add_markdown(_describe(viewable))
        yield server


def viewer_page(viewable: Viewable, *, up: Up = "z", rig: ObjectRig | None = None) -> str:
    """Returns a page of HTML that shows something, with all it needs inside: about 1 MB and 45 bytes a Gaussian.

    Args:
        viewable: what is shown.
        up: the axis that points up.
        rig: see `start_camera`.

    Raises:
        UserError: if viser is not installed.
    """
    with _started("127.0.0.1", 0) as server:  # viser has no scene without a server
        _fill(server, viewable, start_camera(viewable, up, rig))
        return server.scene.as_html()


def _fill(server: Any, viewable: Viewable, camera: StartCamera) -> None:
    server.scene.set_up_direction(tuple(camera.up))
    server.initial_camera.position = camera.position
    server.initial_camera.look_at = camera.target
    server.initial_camera.up = camera.up
    server.initial_camera.fov = float(np.deg2rad(camera.fov))
    size = float(np.linalg.norm(camera.position - camera.target))
    server.initial_camera.near, server.initial_camera.far = size / 500, size * 500
    if isinstance(viewable, MeshFile):
        server.scene.add_glb("/mesh", viewable.glb, cast_shadow=False, receive_shadow=False)
        return
    visible = clean_gaussians(viewable, min_opacity=_FAINTEST)  # viser would draw the rest, as a haze
    means, rotations, scales, opacities, sh = (jnp.asarray(leaf, jnp.float32) for leaf in visible)
    colors = sh_to_color(sh[:, :1], means, jnp.zeros(3))  # the mean over all directions: viser shows one colour each
    server.scene.add_gaussian_splats(
        "/splat",
        centers=np.asarray(means),
        covariances=np.asarray(covariances(rotations, scales)),
        rgbs=np.clip(np.asarray(colors), 0, 1),
        opacities=np.asarray(opacities)[:, None],
    )


def _describe(viewable: Viewable) -> str:
    if isinstance(viewable, MeshFile):
        return f"{viewable.triangles:,} triangles, {len(viewable.vertices):,} vertices"
    return f"{len(viewable.means):,} Gaussians"


@contextlib.contextmanager
def _started(host: str, port: int, title: str | None = None) -> Generator[Any, None, None]:
    """Starts viser and stops it, without the greetings that `verbose=False` leaves.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import rich  # comes with viser, and is what it prints with
        import viser  # ty: ignore (optional)
    except ImportError:
        raise UserError('the viewer needs viser: pip install "diffgs_jax[view]"') from None
    console = rich.get_console()
    with _silent(console), _checked_names(host):
        server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
    try:
        yield server
    finally:
        with _silent(console):
            server.stop()


@contextlib.contextmanager
def _checked_names(host: str) -> Generator[None, None, None]:
    """Has a server that is started meanwhile refuse requests by the name of another machine."""
    # viser has no place for such a check, so it is put in front of the function with which it looks at requests.
    from websockets.asyncio import server as sockets  # ty: ignore (comes with viser)

    serve = sockets.serve

    def serve_checked(*arguments: Any, process_request: Callable[..., Any] | None = None, **settings: Any) -> Any:
        def check(connection: Any, request: Any) -> Any:
            if not is_allowed(request.headers.get("Host"), host):
                return connection.respond(421, "This page answers to local names only.\n")
            return None if process_request is None else process_request(connection, request)

        return serve(*arguments, process_request=check, **settings)

    with mock.patch.object(sockets, "serve", serve_checked):
        yield


@contextlib.contextmanager
def _silent(console: Any) -> Generator[None, None, None]:
    with _SILENCE:
        before, console.quiet = console.quiet, True
        try:
            yield
        finally:
            console.quiet = before
