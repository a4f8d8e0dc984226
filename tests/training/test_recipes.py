"""The published recipes at their size, without a GPU: lowered for CUDA, and compiled for eight devices."""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import pytest

import diffgs_jax
from diffgs_jax.config import from_dict, load_config, to_dict
from diffgs_jax.models import family

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = ["object_256", "object_512", "scene_256", "scene_512", "mixed_256"]


SMALL = ["quickstart", "furniture_64", "finetune_64", "any_views_64", "single_view_64", "random_view_64"]


@pytest.mark.parametrize("name", [*RECIPES, *SMALL])
def test_recipes_load_and_survive_json(name):
    config = load_config(ROOT / "configs" / "diffusion_gs" / f"{name}.py")
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    family(config.model).check(config.model, config.data)


def test_the_bundled_model_can_be_trained_on_as_it_was():
    config = load_config(ROOT / "configs" / "diffusion_gs" / "finetune_64.py")
    bundled = diffgs_jax.load().config
    assert config.model == bundled.model and config.optimizer == bundled.optimizer
    assert (ROOT / config.run.init_from).is_dir() and (ROOT / config.data.path).is_dir()


@pytest.mark.parametrize(
    "name", ["object_256", *(pytest.param(name, marks=pytest.mark.slow) for name in RECIPES if name != "object_256")]
)
def test_full_size_recipes_lower_for_cuda_on_eight_devices(name):
    done = subprocess.run(
        [sys.executable, __file__, name, "lower"], capture_output=True, text=True, cwd=ROOT, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.long
@pytest.mark.parametrize("name", ["object_256", "object_512"])
def test_full_size_recipes_are_partitioned_and_compiled_for_eight_devices(name):
    done = subprocess.run(
        [sys.executable, __file__, name, "compile"], capture_output=True, text=True, cwd=ROOT, timeout=3000
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    # Weights, average and two moments, four bytes each, in eight parts; a little is left whole.
    assert facts["state_bytes"] < 1.05 * 16 * facts["parameters"] / 8


def check(name: str, what: str) -> None:
    """Runs in a process of its own, because the number of devices is decided once."""
    from diffgs_jax import models, training
    from diffgs_jax.geometry import Cameras, Views
    from diffgs_jax.models import Batch

    jax.config.update("jax_num_cpu_devices", 8)
    config = load_config(ROOT / "configs" / "diffusion_gs" / f"{name}.py")
    module = models.family(config.model)
    optimizer = training.make_optimizer(config.optimizer, config.run.steps, module.is_hidden_matrix)
    if what == "compile":
        mesh = training.make_mesh(MeshConfig(fsdp=8))
    else:
        kinds = (jax.sharding.AxisType.Auto,) * 2
        mesh = jax.sharding.AbstractMesh((1, 8), ("data", "fsdp"), axis_types=kinds, **abstract_device())

    def initial():
        return training.init_state(module.init(config.model, jax.random.key(0)), optimizer)

    shapes = jax.eval_shape(initial)
    state = training.place(shapes, training.state_shardings(shapes, mesh))
    split, whole = training.batch_sharding(mesh), training.replicated(mesh)

    def views(count: int) -> Views:
        lead = (config.data.batch_size, count)
        size = config.data.resolution

        def array(*shape: int, dtype: str = "float32") -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=split)

        return Views(
            images=array(*lead, size, size, 3),
            cameras=Cameras(array(*lead, 4, 4), array(*lead, 4)),
            is_condition=array(*lead, dtype="bool"),
            domain=array(lead[0], dtype="int32"),
            alphas=array(*lead, size, size),
        )

    inputs = config.data.condition_views + config.data.noisy_views
    record = jax.ShapeDtypeStruct((config.data.batch_size,), "int32", sharding=split)
    batch = Batch(views(inputs), views(config.data.novel_views), record)
    frozen = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), frozen_shapes(config)
    )
    with jax.sharding.use_abstract_mesh(mesh) if what == "lower" else jax.set_mesh(mesh):
        loss = functools.partial(module.loss, config.model)
        step = training.make_train_step(loss, optimizer, config.optimizer, 0, mesh)
        traced = step.trace(state, frozen, batch)
        if what == "lower":
            traced.lower(lowering_platforms=("cuda",))
            return
        compiled = traced.lower().compile()
    facts = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(shapes.params))}
    facts |= {"state_bytes": training.state_bytes(state), "working_bytes": training.program_bytes(compiled)}
    print(json.dumps(facts))


def abstract_device() -> dict:
    """Names a GPU where JAX wants one to lower for it (from 0.11 on)."""
    kind = getattr(jax.sharding, "AbstractDevice", None)
    return {} if kind is None else {"abstract_device": kind("NVIDIA H100", None, "gpu")}


def frozen_shapes(config) -> dict:
    """Returns the shapes of VGG16's convolutions and of the five heads of LPIPS, where the losses need them."""
    if not config.model.losses.perceptual:
        return {}
    widths = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]

    def number(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, "float32")

    kernels = tuple(number(3, 3, before, after) for before, after in zip([3, *widths[:-1]], widths, strict=True))
    biases = tuple(number(width) for width in widths)
    heads = tuple(number(width) for width in (64, 128, 256, 512, 512))
    return {"lpips": {"kernels": kernels, "biases": biases, "heads": heads}}


if __name__ == "__main__":
    check(*sys.argv[1:])
