"""Runs the cases of some readers, each in a child of its own, and prints one line of JSON for each.

python tests/corpus/worker.py READER… [--share 10] [--only WORDS]

The worker imports the readers, and starts no JAX backend, so that a child costs a few milliseconds. A child has 2 GB of
resident memory and 30 seconds; it says what came out before an independent reader is asked about the same bytes.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(pathlib.Path(__file__).parent)]

import mutations  # noqa: E402
import numpy as np  # noqa: E402
from table import READERS, Reader  # noqa: E402

from diffgs_jax.errors import DataError, UserError  # noqa: E402

SECONDS = float(os.environ.get("CORPUS_SECONDS", "30"))
MEGABYTES = 2048


def attempt(reader: Reader, case: mutations.Case, folder: str, pipe: int) -> None:
    """The child's work: read, say what came out, compare."""

    def say(kind: str, text: str = "") -> None:
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        os.write(pipe, (json.dumps([kind, text[:3000], megabytes]) + "\n").encode())

    with contextlib.suppress(OSError):  # what a decoder prints by itself is no message of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    path = mutations.prepare(case, folder)
    mutations.limit_memory(2 * MEGABYTES)
    try:
        value = flattened(reader.read(path))
    except (UserError, DataError) as error:
        say("user" if isinstance(error, UserError) else "data", str(error))
        return
    except BaseException:
        say("other", traceback.format_exc())
        return
    problem = next((f"{name} is not finite" for name, leaf in value.items() if not is_finite(leaf)), None)
    say("read" if problem is None else "other", problem or "")
    if problem is not None or reader.reference is None:
        return
    try:
        expected = reader.reference(path)
        expected = None if expected is None else flattened(expected)
    except BaseException as error:
        if not reader.stricter:
            say("unlike", f"the independent reader refuses it: {type(error).__name__}: {error}")
        return
    if expected is None:  # not installed, or not for such files
        return
    problem = difference(value, expected, reader)
    say("equal" if problem is None else "unlike", problem or "")


def flattened(value: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Returns the arrays of nested dictionaries, lists and tuples by their places."""
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items()]
    elif hasattr(value, "_fields"):
        items = list(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {prefix: np.asarray(value)}
    found: dict[str, np.ndarray] = {prefix + "#": np.asarray(len(items))}
    for key, item in items:
        found |= flattened(item, f"{prefix}/{key}")
    return found


def is_finite(leaf: np.ndarray) -> bool:
    return leaf.dtype.kind not in "fc" or bool(np.isfinite(leaf).all())


def difference(value: dict[str, np.ndarray], expected: dict[str, np.ndarray], reader: Reader) -> str | None:
    if value.keys() != expected.keys():
        return f"other places: {sorted(value.keys() ^ expected.keys())[:5]}"
    for name, leaf in value.items():
        other = expected[name]
        if leaf.shape != other.shape:
            return f"{name} has the shape {leaf.shape}, and by the independent reader {other.shape}"
        if leaf.dtype.kind not in "biufc" or other.dtype.kind not in "biufc":
            if leaf.tolist() != other.tolist():
                return f"{name} is {leaf!r}, and by the independent reader {other!r}"
            continue
        apart = np.abs(leaf.astype(np.float64) - other.astype(np.float64))
        near = apart <= reader.atol + reader.rtol * np.abs(other.astype(np.float64))
        if near.size and np.mean(~near) > reader.share:
            return f"{name} differs by {apart.max()} at {np.argmax(apart)}"
    return None


def run(reader: Reader, case: mutations.Case, base: str) -> dict[str, Any]:
    """Runs one case in a child and says what came of it."""
    folder = tempfile.mkdtemp(dir=base)
    receiving, sending = os.pipe()
    sys.stdout.flush()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(receiving)
            attempt(reader, case, folder, sending)
            status = 0
        except BaseException:
            os.write(sending, (json.dumps(["other", "of the harness: " + traceback.format_exc(), 0]) + "\n").encode())
        finally:
            os._exit(status)
    os.close(sending)
    said, in_time = b"", True
    while True:
        ready, _, _ = select.select([receiving], [], [], max(0.0, start + SECONDS - time.monotonic()))
        if not ready:
            in_time = False
            os.kill(child, signal.SIGKILL)
            break
        part = os.read(receiving, 65536)
        if not part:
            break
        said += part
    os.close(receiving)
    _, status, usage = os.wait4(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    words = [json.loads(line) for line in said.splitlines()]
    kind, text, _ = words[-1] if words else ("died", f"status {status}", 0)
    if not in_time and not words:
        kind, text = "slow", f"still reading after {SECONDS} s"
    megabytes = words[0][2] if words else usage.ru_maxrss >> 10  # of our reader, before the independent one
    if megabytes > MEGABYTES:
        kind, text = "large", f"{megabytes} MB, after: {kind} {text}"
    seconds = time.monotonic() - start
    return {"reader": reader.name, "case": case.name, "kind": kind, "text": text, "s": seconds, "MB": megabytes}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="+")
    parser.add_argument("--share", type=int, default=1, help="run one case of so many")
    parser.add_argument("--only", default="", help="run cases whose name has these words")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corpus-") as base:
        for name in options.readers:
            reader = READERS[name]()
            cases = [*mutations.cases(reader.seeds()), *(reader.more() if reader.more else ())]
            for index, case in enumerate(cases):
                # Whole seeds always: a reader that refuses everything would pass otherwise.
                if case.changed and (index % options.share or options.only not in case.name):
                    continue
                print(json.dumps(run(reader, case, base)), flush=True)


if __name__ == "__main__":
    main()
