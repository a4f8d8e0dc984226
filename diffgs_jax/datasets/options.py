"""What all sources have in common to choose."""

import dataclasses
from typing import Literal

SourceName = Literal["gobjaverse", "diffsplat", "realestate10k", "mvimgnet", "dl3dv", "transforms_json", "store"]


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """How published images become a record's views."""

    size: int = 0
    """Height and width of the views, pixels; 0 keeps the published resolution. Views are never enlarged."""
    quality: int = 95
    """JPEG (scenes) or WebP (objects) quality of views that have to be encoded again."""
    maps: bool = True
    """Keep depth and normals where there are any."""
    turned_frame: bool = False
    """Of objects whose place their silhouettes tell: take the bounding box, whose centre becomes the origin, in axes
    that are turned about z as the first camera is, and not in the world's. The same pictures in a world that is turned
    then give the same object, turned."""
