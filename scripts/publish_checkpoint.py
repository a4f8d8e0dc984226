"""Turns a training run into a checkpoint to share: the averaged weights alone, in bfloat16.

    python scripts/publish_checkpoint.py --run runs/quickstart --out my_model

The result can be sampled from, evaluated, and trained on from with `--run.init_from my_model`, but not resumed. It
has a model card, README.md. `--safetensors` adds the same weights as model.safetensors, for other tools. `--hub
owner/name` uploads the folder to the Hugging Face Hub, where `diffgs_jax.load("hub:owner/name")` finds it; sign in by
`hf auth login` first.
"""

import dataclasses
import importlib.util
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path

from diffgs_jax import models
from diffgs_jax.checkpoints import latest_step, load_weights, read_metadata, save_weights
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import new_folder, one_line
from diffgs_jax.inference import Pipeline, model_card


@dataclasses.dataclass(frozen=True)
class PublishConfig:
    """What to publish and where."""

    run: pathlib.Path
    """Run folder of `python -m diffgs_jax.train`."""
    out: pathlib.Path
    """Folder to create."""
    overwrite: bool = False
    """Replace `out` if it exists."""
    safetensors: bool = False
    """Add the weights as model.safetensors, by their paths in the parameters, with the settings in its header."""
    hub: str | None = None
    """Repository of the Hugging Face Hub to upload to, `owner/name`."""
    private: bool = False
    """Make a repository of the hub that is new visible to its owner alone."""
    license: str = "other"
    """Licence of the weights that the model card states, by the hub's names, such as cc-by-4.0."""


def main(config: PublishConfig) -> None:
    """Runs the command line."""
    if config.hub is not None and config.hub.count("/") != 1:
        raise UserError(f"--hub takes owner/name, not {config.hub}")
    for wanted, package, extra in (
        (config.safetensors, "safetensors", "import"),
        (config.hub is not None, "huggingface_hub", "hub"),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise UserError(f'this needs {package}: pip install "diffgs_jax[{extra}]"')
    with new_folder(config.out, overwrite=config.overwrite, hint="add --overwrite to replace it") as folder:
        metadata = read_metadata(config.run)
        settings = from_dict(metadata["config"], str(config.run))
        shapes = jax.eval_shape(lambda: models.family(settings.model).init(settings.model, jax.random.key(0)))
        weights = load_weights(config.run, shapes)
        weights = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), weights)
        step = latest_step(config.run / "checkpoints")
        # The data position means nothing without the optimizer; the counters are what a model card states.
        published = {"config": metadata["config"], "counters": metadata["counters"]}
        save_weights(folder, step or 0, weights, published)
        name = config.hub or f"owner/{config.out.name}"
        card = model_card(Pipeline(settings, weights), published, name=name, license=config.license)
        (folder / "README.md").write_text(card)
        if config.safetensors:
            write_safetensors(folder / "model.safetensors", weights, metadata["config"])
    size = sum(file.stat().st_size for file in config.out.rglob("*") if file.is_file())
    print(f"{config.out}: step {step}, {size / 1e6:.1f} MB, {metadata['counters']}")
    if config.hub is not None:
        print(f"{upload(config.out, config.hub, private=config.private)}: load it by hub:{config.hub}")


def write_safetensors(path: pathlib.Path, weights: dict[str, Any], settings: dict[str, Any]) -> None:
    """Writes weights by their paths in the parameters, such as `blocks/attention/qkv/kernel`.

    Args:
        path: the file.
        weights: nested dicts of arrays.
        settings: go into the header, as JSON under `config`.
    """
    from safetensors.flax import save_file

    flat = {keystr(place, simple=True, separator="/"): leaf for place, leaf in tree_flatten_with_path(weights)[0]}
    save_file(flat, str(path), metadata={"format": "diffgs_jax", "config": json.dumps(settings)})


def upload(folder: pathlib.Path, name: str, *, private: bool) -> str:
    """Uploads a folder to a repository of the hub, which is made if need be, and returns its address.

    Raises:
        UserError: if the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, delete_patterns=["[0-9]*"])
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"{name} was not uploaded to the hub: {one_line(error)}; {folder} is complete") from None
    return str(address)


if __name__ == "__main__":
    with report_errors():
        main(parse_options(PublishConfig, description=__doc__))
