"""Measures distilled splats: whether they are of the category that was asked for, and how many faces they have.

    python scripts/measure_distil.py --data data/furniture_128 --labels chair table --out scores \
        --splats runs/chair_0 runs/table_0 --truth chair table

`--splats` are folders that `optimize distil` filled, `--truth` the category of each. The judges are two linear probes
on features of VGG16 (`scripts/fetch_lpips.py`), fitted to the training renderings of the store: one tells the
categories of `--labels`, one front, side and back, counted from `--front` degrees of azimuth in the store's world.
Their own shares of right answers on held-out objects stand beside the table, because what they cannot tell they cannot
judge. Each splat is drawn from `--views` azimuths. The Janus score is the share of views from behind that are called
front.

Writes `distil_scores.json`, `distil_scores.md`, and a film of the colours and one of the depth for each splat.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from diffgs_jax import evaluation
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import RecordStore, load_views, open_store
from diffgs_jax.data.labels import find_label
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import make_folder, write_json, write_text
from diffgs_jax.geometry import Gaussians, ObjectRig
from diffgs_jax.inference import use_compile_cache
from diffgs_jax.interop import read_gaussians, render_orbit, render_turntable, write_video
from diffgs_jax.models.losses.lpips_weights import load_lpips

_DIRECTIONS = 3  # front, side, back
_FRONT, _BACK = 45.0, 135.0  # degrees from the front up to which, and from which


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured."""

    data: pathlib.Path
    """Record store whose training renderings the judges learn from."""
    out: pathlib.Path
    """Folder for the table and films."""
    splats: tuple[pathlib.Path, ...] = ()
    """Folders that `optimize distil` filled."""
    truth: tuple[str, ...] = ()
    """The category of each."""
    labels: tuple[str, ...] = ("armchair", "chair", "table", "sofa", "lamp", "door", "window", "cabinet")
    """Categories that the judge knows."""
    front: float = 0.0
    """Azimuth from which objects of the store show their front, degrees."""
    views: int = 8
    """Azimuths that each splat is judged from, evenly around."""
    resolution: int = 64
    """Height and width of what is judged, pixels."""
    elevation: float = 20.0
    """Of the cameras that splats are seen by, degrees."""
    frames: int = 48
    """Of a film; 0: none."""


class _Judge:
    """Two probes on one network's features."""

    def __init__(self, options: Options) -> None:
        # As constants the weights would be folded for long
        self._describe = functools.partial(jax.jit(evaluation.vgg_features), load_lpips("vgg"))
        self._options = options
        features, labels, directions = self._read(open_store(options.data, "train"))
        self.categories = evaluation.fit_probe(features, labels, len(options.labels))
        self.directions = evaluation.fit_probe(features, directions, _DIRECTIONS)
        seen, labels, directions = self._read(open_store(options.data, "test"))
        self.known = {
            "category": evaluation.share_of(self.categories.predict(seen) == labels)._asdict(),
            "direction": evaluation.share_of(self.directions.predict(seen) == directions)._asdict(),
        }

    def describe(self, images: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
        """Returns features, of pieces of one size, so that one program is compiled."""
        size = self._options.views
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            parts.append(np.asarray(self._describe(padded.astype(np.float32)), np.float64)[: len(part)])
        return np.concatenate(parts)

    def _read(self, store: RecordStore) -> tuple[np.ndarray, Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """Returns the features of all views of the categories, their categories and directions."""
        features, labels, directions = [], [], []
        for number in range(len(store)):
            record = store[number]
            label = find_label(record, self._options.labels)
            if label < 0:
                continue
            images, _, cameras = load_views(record, self._options.resolution, 1.0)
            features.append(self.describe(images))
            labels += [label] * len(images)
            places = np.asarray(cameras.camera_to_world)[:, :3, 3]
            azimuths = np.degrees(np.arctan2(places[:, 1], places[:, 0]))
            directions += list(_direction(azimuths - self._options.front))
        return np.concatenate(features), np.asarray(labels), np.asarray(directions)


def main(options: Options) -> None:
    """Judges the splats and writes the table."""
    if len(options.splats) != len(options.truth) or not options.splats:
        raise UserError("--splats names at least one folder, and --truth the category of each")
    if unknown := [name for name in options.truth if name not in options.labels]:
        raise UserError(f"--truth {unknown[0]} is none of --labels {', '.join(options.labels)}")
    if options.views < 8:
        raise UserError("--views must be at least 8")
    use_compile_cache()
    judge = _Judge(options)
    make_folder(options.out)
    rig = ObjectRig(elevation=options.elevation)
    azimuths = np.arange(options.views) * 360.0 / options.views
    rows: list[dict[str, Any]] = []
    called, every, right = [], [], []
    for folder, name in zip(options.splats, options.truth, strict=True):
        gaussians = read_gaussians(folder / "gaussians.ply")
        images = render_orbit(gaussians, azimuths, size=options.resolution, rig=rig, background=1.0).images / 255
        seen = judge.describe(images)
        hits = judge.categories.predict(seen) == options.labels.index(name)
        fronts = judge.directions.predict(seen) == 0
        # A distilled object's front is where its given image was taken from, or where its prompt said: azimuth 0
        score = evaluation.janus_score(fronts, azimuths)
        rows.append(
            {
                "splat": str(folder),
                "category": name,
                "right": evaluation.share_of(hits)._asdict(),
                "janus": score.behind._asdict(),
                "front_called_front": score.in_front._asdict(),
            }
        )
        right.append(hits)
        called.append(fronts)
        every.append(azimuths)
        _films(options, folder.name, gaussians, rig)
        print(json.dumps(rows[-1]), flush=True)
    whole = evaluation.janus_score(np.concatenate(called), np.concatenate(every))
    told = {
        "judges_on_test_objects": judge.known,
        "chance": 1 / len(options.labels),
        "all": {
            "right": evaluation.share_of(np.concatenate(right))._asdict(),
            "janus": whole.behind._asdict(),
            "front_called_front": whole.in_front._asdict(),
        },
        "splats": rows,
    }
    write_json(options.out / "distil_scores.json", told)
    write_text(options.out / "distil_scores.md", _table(told))
    print(_table(told))


def _direction(turned: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Returns 0 for front, 1 for side and 2 for back."""
    away = np.abs((turned + 180.0) % 360.0 - 180.0)
    return (away > _FRONT).astype(int) + (away >= _BACK)


def _films(options: Options, name: str, gaussians: Gaussians, rig: ObjectRig) -> None:
    for shows in ("color", "depth") if options.frames else ():
        film = render_turntable(gaussians, frames=options.frames, size=2 * options.resolution, rig=rig, shows=shows)
        write_video(options.out / f"{name}_{shows}.webp", film)


def _table(told: dict[str, Any]) -> str:
    judges = told["judges_on_test_objects"]
    lines = [
        f"Judges on views of held-out objects: category {judges['category']['value']:.2f}, direction "
        f"{judges['direction']['value']:.2f}. Chance of a category: {told['chance']:.2f}.",
        "",
        "| splat | category | views called right | back views called front | front views called front |",
        "|---|---|---:|---:|---:|",
    ]
    named = {"splat": "all", "category": ""}
    for row in [*told["splats"], named | told["all"]]:
        shares = [f"{row[name]['value']:.2f}" for name in ("right", "janus", "front_called_front")]
        lines.append(f"| {pathlib.Path(row['splat']).name} | {row['category']} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
