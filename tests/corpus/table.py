"""The readers of the project: what they take, and who else reads the same bytes."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from mutations import Case, Seed


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader under trial.

    Attributes:
        name: of the reader.
        seeds: valid inputs, small.
        read: reads a path and returns nested dictionaries, lists, tuples, arrays and numbers.
        reference: an independent reader of the same; None where there is none. It may return None for files it is not
            made for.
        more: further cases, put together by hand.
        rtol: of the comparison.
        atol: of the comparison.
        share: of the numbers may differ by more; for lossy pictures that are damaged.
        stricter: the independent reader refuses what this one reads, whose checksums are those of the file.
    """

    name: str
    seeds: Callable[[], list[Seed]]
    read: Callable[[str], Any]
    reference: Callable[[str], Any] | None = None
    more: Callable[[], Iterable[Case]] | None = None
    rtol: float = 0.0
    atol: float = 0.0
    share: float = 0.0
    stricter: bool = False


def _named(module: str, names: tuple[str, ...]) -> dict[str, Callable[[], Reader]]:
    """Returns makers of readers that import their module when they are called."""

    def maker(name: str) -> Callable[[], Reader]:
        def make() -> Reader:
            return getattr(__import__(module), name)()

        return make

    return {name: maker(name) for name in names}


READERS: dict[str, Callable[[], Reader]] = {
    **_named("splats", ("ply", "spz", "spz4", "splat")),
    **_named("images", ("png", "jpeg", "webp", "gif", "bmp", "views", "masks")),
    **_named("weights", ("torch", "torch_mapped", "safetensors", "camera_template")),
    **_named("texts", ("json_text", "gzipped", "zipped", "tarred")),
    **_named("records", ("transforms_json", "colmap", "realestate10k", "objaverse")),
    **_named("records", ("sample_json", "store", "run_config", "glb", "obj")),
}
