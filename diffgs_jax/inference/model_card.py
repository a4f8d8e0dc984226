"""A model card as the Hugging Face Hub reads it, written from what a checkpoint says of itself."""

import json
from typing import Any

import jax

from diffgs_jax.config import to_dict
from diffgs_jax.inference.pipeline import Pipeline

_CARD = """---
library_name: diffgs_jax
pipeline_tag: {task}
license: {license}
tags:
- jax
- gaussian-splatting
- {kind}
---
# {name}

{makes}

```python
import diffgs_jax

pipeline = diffgs_jax.load("hub:{name}")
result = pipeline({example})
result.{leaves}
```

| | |
|---|---|
| family | `{kind}` |
| parameters | {parameters:.1f} million |
| pictures | {side} × {side} pixels |
| sampling | {sampling} |
| training | {training} |
| data | {data} |

The settings that it was trained with:

```json
{settings}
```
"""


def model_card(pipeline: Pipeline, metadata: dict[str, Any], *, name: str, license: str) -> str:
    """Returns a card in Markdown, with nothing in it that the checkpoint does not say.

    Args:
        pipeline: the model.
        metadata: of its checkpoint, for what training counted.
        name: `owner/name` on the hub.
        license: of the weights, by the hub's names, such as `cc-by-4.0`.
    """
    config, needs = pipeline.config, pipeline.requirements
    usual, kinds = config.sampling, pipeline.sampler_kinds
    makes_splats = needs.makes == "gaussians"
    has_image = needs.condition_views[1] > 0
    given = f"{_counted(needs.condition_views)} of an object" if has_image else "noise"
    counters = metadata.get("counters") or {}
    settings = to_dict(config)
    return _CARD.format(
        task="image-to-3d" if makes_splats and has_image else "unconditional-image-generation",
        license=license,
        kind=settings["model"]["kind"],
        name=name,
        makes=f"Makes {'3D Gaussians' if makes_splats else 'images'} of {given}.",
        example='"object.png"' if has_image else "",
        leaves='save("object.ply")' if makes_splats else "images",
        parameters=sum(leaf.size for leaf in jax.tree.leaves(pipeline.params)) / 1e6,
        side=config.data.resolution,
        sampling=f"{usual.steps} steps of {usual.sampler}" if kinds else "one pass, no steps",
        training=", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in counters.items()) or "not told",
        data=f"`{settings['data']['path']}`" if settings["data"].get("path") else "not told",
        settings=json.dumps(settings["model"], indent=2),
    )


def _counted(views: tuple[int, int]) -> str:
    least, most = views
    if least == 0 and most > 1:
        return f"nothing, one picture, or up to {most},"
    if least <= 1:
        return "one picture" if most == 1 else f"one picture, or up to {most},"
    return f"{least} pictures" if least == most else f"{least} to {most} pictures"
