"""Measures `diffgs_jax.optimize fit` on objects of a record store: scores on held-out images, and times.

    python scripts/measure_fits.py --data data/furniture_128 --out fits [--objects 20] [-- --resolution 64 --steps 800]

What follows `--` are options of the fit. Each object's folder stays in `--out`; `fits.json` has the table, and the mean
is printed. Objects that are done already, with the same options, are not fitted again.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from diffgs_jax import optimize
from diffgs_jax.data import open_store
from diffgs_jax.errors import report_errors
from diffgs_jax.evaluation import spread
from diffgs_jax.files import load_json, make_folder, write_json


def main() -> None:
    """Runs the command line."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--objects", type=int, default=20)
    options = parser.parse_args(words[:cut])
    with report_errors():
        measure(options.data, options.out, options.objects, words[cut + 1 :])


def measure(data: pathlib.Path, out: pathlib.Path, objects: int, more: list[str]) -> None:
    """Fits objects spread evenly over the test split, and writes their table.

    Args:
        data: record store.
        out: folder for the fits.
        objects: how many.
        more: options of the fit.
    """
    uids = open_store(data, "test").uids
    rows = []
    for uid in (uids[i] for i in spread(len(uids), objects)):
        folder = make_folder(out / uid.replace("/", "_"))
        asked = ["fit", "--data", str(data), "--record", uid, "--out", str(folder), *more]
        done = folder / "asked.json"
        if not (done.exists() and load_json(done) == asked):
            optimize.main(asked)
            write_json(done, asked)
        told = load_json(folder / "fit.json")
        rows.append({"record": uid, **{name: told[name] for name in ("gaussians", "seconds", "processor_seconds")}})
        rows[-1] |= told["scores"]["held_out"]
        print(json.dumps(rows[-1]), flush=True)
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name != "record"}
    write_json(out / "fits.json", {"options": more, "objects": rows, "mean": mean})
    print(f"mean of {len(rows)}: {json.dumps({name: round(value, 3) for name, value in mean.items()})}")


if __name__ == "__main__":
    main()
