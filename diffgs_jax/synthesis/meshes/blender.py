"""Pictures of meshes by Blender's path tracer Cycles, in a process of Blender's own Python.

Blender's module needs NumPy 1 and JAX needs NumPy 2, so they live in environments of their own:

    python3.11 -m venv blender && blender/bin/pip install bpy==5.0.1     (374 MB)
    python scripts/render_objects.py --engine blender --blender blender/bin/python …

Any Blender from 5.0 on does as well: `--blender /path/to/blender`.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras
from diffgs_jax.synthesis.meshes.light import CUT_OUT, SUN
from diffgs_jax.synthesis.meshes.loading import MeshPart, Surfaces

BLENDER_VARIABLE = "DIFFGS_JAX_BLENDER"
"""Environment variable that names the Blender to use where `--blender` does not."""
SKY, GROUND, SUN_STRENGTH = 0.9, 0.5, 0.35
"""What a white surface sends that looks up, down, and at the sun: linear light, before surfaces shade each other."""
_SAY = "diffgs_jax:"


class BlenderRenderer:
    """Does what `MeshRenderer` does, with shadows and light from surface to surface."""

    def __init__(self, size: int, *, program: str | None = None, samples: int = 32, threads: int = 0):
        """Starts Blender.

        Args:
            size: height and width of the pictures, pixels.
            program: a Python that has `bpy`, or a Blender; the environment's `DIFFGS_JAX_BLENDER` by default, and
                without that, this Python.
            samples: paths for each pixel of a picture; they are denoised.
            threads: of the rendering; 0 takes every core.

        Raises:
            UserError: if there is no such program or it has no `bpy`.
        """
        self._size, self._samples, self._threads = size, samples, threads
        self._program = program or os.environ.get(BLENDER_VARIABLE) or sys.executable
        found = shutil.which(self._program)
        if found is None:
            raise UserError(f"there is no program {self._program}; give a Blender, or a Python with bpy")
        worker = str(pathlib.Path(__file__).with_name("_blender_worker.py"))
        options = ["--background", "--factory-startup", "--python"] if "blender" in pathlib.Path(found).name else ["-u"]
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [found, *options, worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        try:
            self.version = self._answer().removeprefix("ready ")
        except DataError as error:
            self.close()
            install = "python3.11 -m venv blender && blender/bin/pip install bpy==5.0.1, then --blender"
            raise UserError(f"{found} cannot render ({error}): {install} blender/bin/python") from None

    def render(self, parts: list[MeshPart], cameras: Cameras) -> UInt8[np.ndarray, "n s s 4"]:
        """Returns RGBA pictures, straight alpha, transparent where there is nothing.

        Args:
            parts: an object in the object frame; light of its own is not used.
            cameras: `[n]`, fx = fy: Blender 5.0 cannot write pictures of pixels that are not square.

        Raises:
            DataError: if Blender cannot render it.
            ValueError: if fx and fy differ.
        """
        return self._run(parts, cameras, surfaces=False)

    def render_surfaces(self, parts: list[MeshPart], cameras: Cameras) -> Surfaces:
        """Returns the depth and the normals of what `render` shows.

        Args:
            parts: as for `render`.
            cameras: as for `render`.

        Raises:
            DataError: if Blender cannot render it.
            ValueError: if fx and fy differ.
        """
        values = self._run(parts, cameras, surfaces=True)
        values[np.isnan(values[..., 3])] = np.nan
        return Surfaces(values[..., 3], values[..., :3])

    def close(self) -> None:
        """Ends Blender."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _run(self, parts: list[MeshPart], cameras: Cameras, *, surfaces: bool) -> np.ndarray:
        if not np.allclose(cameras.intrinsics[:, 0], cameras.intrinsics[:, 1]):
            raise ValueError("Blender renders square pixels only: fx and fy must be equal")
        with tempfile.TemporaryDirectory(prefix="diffgs_jax-") as folder:
            job: dict[str, Any] = {
                "size": self._size,
                "samples": self._samples,
                "threads": self._threads,
                "surfaces": surfaces,
                "poses": np.asarray(cameras.camera_to_world, np.float64),
                "intrinsics": np.asarray(cameras.intrinsics, np.float64),
                "parts": len(parts),
                "cut_out": CUT_OUT,
                "sky": SKY,
                "ground": GROUND,
                "sun": SUN,
                "sun_strength": SUN_STRENGTH,
            }
            for number, part in enumerate(parts):
                for name in ("positions", "normals", "uv", "colors", "texture", "blended", "linear", "clamped"):
                    value = getattr(part, name)
                    job[f"{number}.{name}"] = np.zeros((0, 0, 4), np.uint8) if value is None else value
            np.savez(pathlib.Path(folder) / "job.npz", **job)
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(folder + "\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                raise DataError("Blender ended") from None
            answer = self._answer()
            if answer != "done":
                raise DataError(f"Blender: {answer.removeprefix('failed ')}")
            return np.load(pathlib.Path(folder) / ("surfaces.npy" if surfaces else "pictures.npy"))

    def _answer(self) -> str:
        """Returns the next line that is meant for us; Blender reports its progress on stdout too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_SAY):
                return line.removeprefix(_SAY).strip()
        self._log.seek(0)
        last = [line.strip() for line in self._log if line.strip()]
        raise DataError(last[-1] if last else f"it ended with code {self._process.wait()}")
