import json
import os
import pathlib
import subprocess
import sys

import pytest

TINY = [
    *("--model.network.width", "64", "--model.network.layers", "2", "--model.network.heads", "2"),
    *("--data.resolution", "16", "--data.batch-size", "8", "--data.cache-gigabytes", "0", "--data.novel-views", "1"),
    *("--model.losses.distance-warmup", "2", "--run.log-every", "1", "--run.preview-every", "0"),
]


class Runs:
    """Starts the training command as a user does, on a tiny model."""

    def __init__(self, root: pathlib.Path):
        self.root = root

    def start(self, folder: pathlib.Path, *more: str, devices: int = 1) -> subprocess.Popen:
        """Starts a run on so many simulated devices."""
        config, data = self.root / "configs" / "diffusion_gs" / "quickstart.py", self.root / "assets" / "furniture_cc0"
        words = ["--config", str(config), *TINY, "--data.path", str(data), "--run.folder", str(folder), *more]
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        return subprocess.Popen(
            [sys.executable, "-m", "diffgs_jax.train", *words],
            cwd=self.root,
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen, code: int = 0) -> str:
        """Waits for a run; returns what it said."""
        out, errors = process.communicate(timeout=1800)
        assert process.returncode == code, errors
        return out + errors

    def losses(self, folder: pathlib.Path) -> dict[int, tuple[float, float]]:
        """Returns loss and gradient norm of each step."""
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return {line["step"]: (line["loss"], line["gradient_norm"]) for line in lines if "loss" in line}


@pytest.fixture
def runs(request) -> Runs:
    return Runs(request.config.rootpath)
