"""What the sampling command can be asked for."""

import dataclasses
import importlib.util
import pathlib
from typing import Literal

from PIL import ImageColor

from diffgs_jax.errors import UserError
from diffgs_jax.inference.options import Frame, InputOptions, SamplingOptions
from diffgs_jax.interop import (
    CONVERTED_SUFFIXES,
    MapFormat,
    MapKind,
    Shown,
    Sphere,
    check_cleaning,
    check_converter,
    check_maps,
    check_matting,
    check_turntable,
)
from diffgs_jax.meshing import check_texture
from diffgs_jax.rasterizer import Backend

Format = Literal["ply", "compressed.ply", "spz", "splat", "sog", "gltf", "glb", "obj"]
"""Files of the Gaussians (`gltf`: a .glb with KHR_gaussian_splatting), and of a mesh made of them (`glb`, `obj`)."""


MESH_FORMATS = ("glb", "obj")
"""The formats that are of a mesh."""
_MESH_PACKAGES = ("trimesh", "skimage", "fast_simplification")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleFiles:
    """What is read and written. A class of its own, so that `--help` begins with it."""

    image: pathlib.Path | None = None
    """An image of one object; a folder of such images; or a transforms.json that lists posed images of one object, all
    of which the model is shown. Models that generate from nothing need none."""
    one_object: bool = False
    """The folder holds images of one object, which are shown to the model together: taken from one height at equal
    steps around it, the front first in the order of their names, then counterclockwise as seen from above."""
    path: pathlib.Path | None = None
    """Makes a scene, not an object: where its camera goes, from the picture's place on; `forward`, `sideways`, or a
    JSON of cameras (docs/scenes.md). For models that know scenes. The folder gets the splat and a film along it."""
    fov: float | None = None
    """With a path: horizontal field of view of the picture's middle square, degrees; by default what the JSON says,
    else 60."""
    out: pathlib.Path
    """Folder for what is made; created if need be. Of a folder of images, each gets a folder of its name in it."""
    prompt_file: pathlib.Path | None = None
    """A text file with one prompt a line; what is made of each gets a folder of its own."""
    repeat: pathlib.Path | None = None
    """The sample.json of an earlier run, whose options are those of this one where it states no other. The image and
    the checkpoint must be the same; `--image` and `--checkpoint` say where they are now."""
    checkpoint: pathlib.Path | None = None
    """Folder of a training run or of its checkpoints; by default the model that comes with the package."""

    samples: int = 1
    """How many to make of each image, of consecutive seeds; more than one come in folders seed_0, seed_1, …"""
    low_memory: bool = False
    """Render one view at a time and, on accelerators, keep the network in bfloat16: half the memory for its weights. On
    a CPU next to nothing is gained; docs/python-api.md has figures."""
    backend: Backend | None = None
    """Who renders: `xla` runs on any device, `triton` and `mosaic` are kernels for NVIDIA GPUs, `auto` chooses. By
    default what the model's config says, `auto` as a rule."""

    formats: tuple[Format, ...] = ("ply",)
    """Files of the Gaussians: `ply` (nearly any viewer of Gaussian splats), `spz` (a quarter of it), `splat`, `gltf` (a
    .glb with KHR_gaussian_splatting), and, with splat-transform, `compressed.ply` and `sog`; and of a mesh made of
    them: `glb`, `obj`."""
    texture: int = 0
    """Side of a texture, pixels, that the mesh in a `glb` gets instead of a colour at each corner; 0 for none. Finer
    than the corners, takes longer, and needs xatlas."""
    frame: Frame | None = None
    """Where splats are: in the `object` frame, or in the frame of the `cameras` that a transforms.json gives. By
    default the cameras' for models that need several pictures, else the object's. Films and meshes are in the object
    frame."""
    raw: bool = False
    """Write quaternions as long as the network made them, which only its own renderer understands; `ply` only, and in
    the object frame."""
    prune: bool = True
    """Leave out Gaussians that change no pixel of any picture: those fainter than 1/255. `--no-prune` writes all."""
    min_opacity: float = 0.0
    """Leave out Gaussians that are fainter, [0, 1]."""
    crop_radius: float | None = None
    """Leave out Gaussians whose centre is farther from the object's: it fits a sphere of radius 1. By default none."""
    turntables: tuple[Shown, ...] = ("color",)
    """Films of one turn around the object: of its `color`, its `depth` and its surface's `normals`."""
    film: Literal["mp4", "gif", "webp"] = "mp4"
    """What films are written as."""
    frames: int = 48
    """Frames of a turntable; 0 writes none."""
    turntable_size: int = 256
    """Height and width of turntables, pixels; even for mp4."""
    maps: tuple[MapKind, ...] = ()
    """Files of numbers, as large as turntables: `depth`, `normals` and `mask`, with their cameras in maps.json."""
    map_format: MapFormat = "exr"
    """What maps are written as: float32 EXR, or 16-bit PNG."""
    map_views: int = 8
    """Views that maps are of, evenly around the object."""
    background: str | None = None
    """Colour behind the object in turntables, by a name or as #rrggbb; by default what the model was trained on."""
    trajectory: bool = False
    """Also write the film `trajectory`: what was predicted, and the noise that was left, at every step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleOptions(SamplingOptions, InputOptions, SampleFiles):
    """Turns an image of an object, or a folder of them, into 3D Gaussians."""

    def checked(self) -> "SampleOptions":
        """Returns the options, or refuses those that make no sense for any model and image.

        Raises:
            UserError: naming the first such option.
        """
        if self.samples < 1:
            raise UserError(f"the number of samples must be at least 1, not {self.samples}")
        if self.prompt is not None and self.prompt_file is not None:
            raise UserError("--prompt and --prompt-file both say what to make: give one of them")
        if self.one_object and (self.image is None or not self.image.is_dir()):
            raise UserError("--one-object is about a folder of images: name it with --image")
        if self.fov is not None and self.path is None:
            raise UserError("--fov goes with --path: of objects, the checkpoint says what their cameras see")
        if self.path is not None and set(self.formats) & {*MESH_FORMATS, "gltf"}:
            raise UserError("of a scene there are splats (--formats ply, spz, splat), and no meshes")
        check_cleaning(self.min_opacity, None if self.crop_radius is None else Sphere(self.crop_radius))
        check_turntable(self.frames, self.turntable_size, f".{self.film}")
        if self.raw and (set(self.formats) - {"ply"} or self.frame == "cameras"):
            raise UserError("--raw writes a ply in the object frame: leave other formats and --frame cameras out")
        check_maps(self.maps, self.map_format, self.map_views)
        if any(f".{name}" in CONVERTED_SUFFIXES for name in self.formats):
            check_converter()
        if self.texture:
            check_texture(self.texture)
            if "glb" not in self.formats:
                raise UserError("a texture is part of a .glb: add --formats glb")
        if any(name in MESH_FORMATS for name in self.formats):
            missing = [name for name in _MESH_PACKAGES if importlib.util.find_spec(name) is None]
            if missing:
                raise UserError(f'meshes need {missing[0]}: pip install "diffgs_jax[mesh]"')
        self.background_color()
        check_matting(self.matting, self.matting_model)
        return self

    def background_color(self) -> tuple[float, float, float] | None:
        """Returns the background, RGB in [0, 1], or None where the model's is meant.

        Raises:
            UserError: if it is no colour.
        """
        if self.background is None:
            return None
        try:
            red, green, blue = ImageColor.getrgb(self.background)[:3]
        except ValueError as error:
            raise UserError(f"{self.background!r} is no colour; give a name such as black, or #rrggbb") from error
        return red / 255, green / 255, blue / 255

    @property
    def inputs(self) -> InputOptions:
        """The part that is about the input."""
        return InputOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(InputOptions)})

    @property
    def sampling(self) -> SamplingOptions:
        """The part that is about sampling."""
        return SamplingOptions(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(SamplingOptions)}
        )
