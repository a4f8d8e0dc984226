"""Every family keeps what the interface promises, from settings to a resumed run and what it generates."""

import dataclasses
import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stub_family
import stub_splats
import tiny_controlled
import tiny_stable_diffusion

from diffgs_jax.checkpoints import latest_step, save_weights
from diffgs_jax.commands.training import train
from diffgs_jax.config import RunConfig, TrainConfig, apply_overrides, from_dict, to_dict
from diffgs_jax.data import DataConfig, Record, encode_record, training_batches
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import orbit
from diffgs_jax.inference import PosedImages, load
from diffgs_jax.models import Cost, Diffuses, Encodes, Family, Generates, Predicts, Requirements, family, kind_of, kinds
from diffgs_jax.models.bundles import request_of
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig
from diffgs_jax.models.diffsplat import (
    DiffSplatConfig,
    FrozenConfig,
    ImageConfig,
    LatentConfig,
    PixArtConfig,
    TextConfig,
)
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, LossConfig, NetworkConfig
from diffgs_jax.models.elevest import ElevEstConfig, VisionConfig
from diffgs_jax.models.family import register
from diffgs_jax.models.gsd import GSDConfig, SetNetworkConfig
from diffgs_jax.models.gsrecon import GSReconConfig, ReconstructionLossConfig, ReconstructorConfig
from diffgs_jax.models.gsvae import AutoencoderConfig, GSVAEConfig, TinyDecoderConfig
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.noisy_classifier import EncoderConfig, NoisyClassifierConfig
from diffgs_jax.models.splat_grid import SplatGridConfig
from diffgs_jax.models.stable_diffusion import StableDiffusionConfig
from diffgs_jax.models.zero123 import Zero123Config

SIZE = 16
GAUSSIANS = DiffusionGSConfig(
    network=NetworkConfig(width=16, layers=1, heads=1, patch_size=8, stride=4, free_gaussians=1),
    losses=LossConfig(condition_dropout=0.5),
)
RECONSTRUCTOR = GSReconConfig(
    network=ReconstructorConfig(width=16, layers=1, heads=1, hidden=16, stride=4),
    grid=SplatGridConfig(smallest_scale=0.01, largest_scale=0.3, places="centers"),
    losses=ReconstructionLossConfig(perceptual=0.0),
)
VIEWS = {"condition_views": 1, "noisy_views": 2, "novel_views": 1}
SINGLE = {"condition_views": 0, "noisy_views": 1, "novel_views": 0}
SPLATS = DiffSplatConfig(
    pixart=PixArtConfig(layers=1, heads=1, head_width=8, text_width=8),
    latents=LatentConfig(downsampling=stub_splats.SHRINKS),
    views=3,
    text=TextConfig("learned", tokens=4, vocabulary=16, width=8, layers=1, heads=1),
    image=ImageConfig("learned"),
)
# For each family: tiny settings, how samples are made up, and an override with what it changes.
TINY = {
    "diffusion_gs": (GAUSSIANS, VIEWS, ("--model.network.heads", "2"), lambda model: model.network.heads == 2),
    "ddpm": (
        DDPMConfig(network=UNetConfig(channels=8, multipliers=(1, 2), blocks=1, groups=4)),
        SINGLE,
        ("--model.network.groups", "2"),
        lambda model: model.network.groups == 2,
    ),
    "noisy_classifier": (
        NoisyClassifierConfig(network=EncoderConfig(channels=8, multipliers=(1, 2), groups=4), classes=4),
        SINGLE | {"labels": ("a", "b", "c", "d")},
        ("--model.network.groups", "2"),
        lambda model: model.network.groups == 2,
    ),
    "gsrecon": (
        RECONSTRUCTOR,
        {"condition_views": 4, "noisy_views": 0, "novel_views": 1},
        ("--model.network.heads", "2"),
        lambda model: model.network.heads == 2,
    ),
    "elevest": (
        ElevEstConfig(
            network=VisionConfig(width=8, layers=1, heads=1, patch_size=8, position_grid=2, registers=1),
            resolution=SIZE,
            lowest=-90.0,
            highest=90.0,
        ),
        SINGLE,
        ("--model.network.registers", "2"),
        lambda model: model.network.registers == 2,
    ),
    # Of images; of grids it is tried with a stub that makes them
    "gsvae": (
        GSVAEConfig(
            network=AutoencoderConfig(channels=3, latents=2, widths=(4,), blocks=1, groups=2),
            tiny=TinyDecoderConfig(width=0),
        ),
        SINGLE,
        ("--model.network.latents", "3"),
        lambda model: model.network.latents == 3,
    ),
    "gsd": (
        GSDConfig(gaussians=8, network=SetNetworkConfig(width=16, layers=1, heads=1)),
        SINGLE | {"object_frame": "record"},
        ("--model.network.heads", "2"),
        lambda model: model.network.heads == 2,
    ),
    "diffsplat": (SPLATS, VIEWS, ("--model.text.layers", "2"), lambda model: model.text.layers == 2),
    "controlnet": (
        tiny_controlled.CONTROLNET,
        {"condition_views": 0, "noisy_views": 3, "novel_views": 0},
        ("--model.picture", "depth"),
        lambda model: model.picture == "depth",
    ),
    "zero123": (
        Zero123Config(
            unet=LatentUNetConfig(channels=(8, 16), blocks=1, depths=(0, 1), heads=(1, 2), groups=4, text_width=8),
            encoder="learned",
            channels=3,
            downsampling=1,
            latent_scale=1.0,
        ),
        {"condition_views": 1, "noisy_views": 2, "novel_views": 0},
        ("--model.patches.width", "16"),
        lambda model: model.patches.width == 16,
    ),
    "stable_diffusion": (
        StableDiffusionConfig(unet=tiny_stable_diffusion.UNET, downsampling=2),
        SINGLE,
        ("--model.dropout", "0.3"),
        lambda model: model.dropout == 0.3,
    ),
    "stub": (
        stub_family.StubConfig(),
        SINGLE,
        ("--model.spring.stiffness", "0.25"),
        lambda model: model.spring.stiffness == 0.25,
    ),
}


def test_every_family_is_tried():
    # Others are of other test files, where one process runs several.
    assert set(TINY) - {"stub"} == {
        kind for kind, config in kinds().items() if config.__module__.startswith("diffgs_jax.")
    }


def kinds_with(*in_time):
    """Tries all families; those that are not named only by `-m slow`, or `-m long` if others stand for them there."""
    rare = {
        name: pytest.mark.slow if name in ("ddpm", "diffusion_gs", "gsrecon") else pytest.mark.long for name in TINY
    }
    return pytest.mark.parametrize(
        "kind", [pytest.param(name, marks=[] if name in in_time else rare[name]) for name in sorted(TINY)]
    )


@pytest.fixture(scope="module")
def used_models(tmp_path_factory):
    """Settings that name the models that another one uses, by family."""
    folder = tmp_path_factory.mktemp("frozen")
    tiny_stable_diffusion.write_folder(folder / "published")
    return {
        "diffsplat": {"frozen": FrozenConfig(**stub_splats.write_frozen(folder))},
        "controlnet": {"base": tiny_controlled.write_base(tmp_path_factory.mktemp("steered"))},
        "stable_diffusion": {
            "autoencoder": tiny_stable_diffusion.write_autoencoder(folder / "autoencoder"),
            "text": str(folder / "published"),
        },
    }


@pytest.fixture
def config(kind, store, used_models, tmp_path):
    model, views, *_ = TINY[kind]
    if kind in used_models:
        model = dataclasses.replace(model, **used_models[kind])
    return TrainConfig(
        model=model,
        data=DataConfig(path=str(store), resolution=SIZE, batch_size=2, threads=0, **views),
        run=RunConfig(folder=str(tmp_path / "run"), steps=2, preview_every=0, log_every=1, checkpoint_every=1),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six discs, each of one colour, seen by five cameras."""
    folder = tmp_path_factory.mktemp("families") / "discs"
    disc = np.hypot(*np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]) < 0.7

    def records(names):
        for number, name in enumerate(names):
            color = np.random.default_rng(number).integers(20, 235, 3)
            pixels = np.concatenate([np.broadcast_to(color, (SIZE, SIZE, 3)), 255 * disc[..., None]], axis=-1)
            cameras = orbit(np.arange(5) * 72.0 + number)
            images = [encode_webp(pixels.astype(np.uint8))] * 5
            sets = np.random.default_rng(number).normal(size=(6, 14)).astype(np.float32)
            record = Record(name, "object", images, cameras, name=name, gaussians=sets)
            yield name, lambda record=record: encode_record(record)

    write_store(folder, {"train": list(records("abcd")), "test": list(records("xy"))}, {"name": "discs"})
    return folder


@functools.cache
def fresh(model):
    return jax.jit(functools.partial(family(model).init, model))(jax.random.key(0))


@pytest.fixture
def batch(config):
    batches = training_batches(config.data, requirements=family(config.model).requirements(config.model))
    batch = next(batches)
    batches.close()
    return batch


@kinds_with(*TINY)
def test_settings_go_to_json_and_back_and_take_overrides(config, kind, capsys):
    assert kind_of(config.model) == kind
    assert from_dict(to_dict(config)) == config
    _, _, words, is_changed = TINY[kind]
    assert not is_changed(config.model)
    assert is_changed(apply_overrides(config, words).model)
    with pytest.raises(SystemExit) as caught:
        apply_overrides(config, ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"--model.{field.name.replace('_', '-')}" in printed for field in dataclasses.fields(config.model))
    fields = to_dict(config)
    fields["model"]["nonsense"] = 1
    with pytest.raises(DataError, match="nonsense"):
        from_dict(fields)
    with pytest.raises(UserError, match="unknown config field --model.nonsense"):
        apply_overrides(config, ["--model.nonsense", "1"])


@kinds_with(*TINY)
def test_what_is_known_without_weights(config):
    module = family(config.model)
    assert isinstance(module, Family)
    module.check(config.model, config.data)
    needs, cost = module.requirements(config.model), module.cost(config.model, config.data)
    assert isinstance(needs, Requirements) and SIZE % needs.image_multiple == 0
    assert isinstance(cost, Cost) and cost.forward_flops > 0 and all(number > 0 for number in cost.counts.values())
    hash(config.model)  # a static argument of jit


@kinds_with("diffusion_gs", "stub")
def test_the_loss_falls_along_its_gradient(config, batch):
    module = family(config.model)
    params, frozen = fresh(config.model), module.load_frozen(config.model, "training")
    key, step = jax.random.key(1), jnp.asarray(1, jnp.int32)

    def loss(params):
        return module.loss(config.model, params, frozen, batch, key, step)

    graded = jax.jit(jax.value_and_grad(loss, has_aux=True))

    (value, metrics), gradient = graded(params)
    assert np.isfinite(value) and metrics["loss"] == value and all(np.ndim(one) == 0 for one in metrics.values())
    leaves = jax.tree.leaves(gradient)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    squared = sum(float(jnp.sum(leaf**2)) for leaf in leaves)
    assert squared > 0
    length = 1e-3 / np.sqrt(squared)
    moved = graded(jax.tree.map(lambda leaf, slope: leaf - length * slope, params, gradient))[0][0]
    assert moved < value


@kinds_with("stub")
def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(config):
    """Two steps; then the second again, from the checkpoint of the first."""
    whole = train(config)
    saved = pathlib.Path(config.run.folder) / "checkpoints"
    shutil.rmtree(saved / "2")
    assert latest_step(saved) == 1
    again = train(config)
    assert int(again.step) == int(whole.step) == 2
    for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert jax.tree.structure(load(config.run.folder).params) == jax.tree.structure(whole.params)


@kinds_with("stub")
def test_a_checkpoint_generates_the_same_again(config, tmp_path):
    module = family(config.model)
    if not isinstance(module, Generates):
        pytest.skip("this family generates nothing")
    params = fresh(config.model)
    save_weights(tmp_path / "saved", 1, params, {"config": to_dict(config), "counters": {"samples": 0}})
    pipeline = load(tmp_path / "saved")
    image = None
    if shown := pipeline.requirements.condition_views[0]:
        image = np.pad(np.full((8, 8, 4), 255, np.uint8), ((4, 4), (4, 4), (0, 0)))
    if shown > 1:
        image = PosedImages(np.full((shown, SIZE, SIZE, 3), 0.5, np.float32), orbit(np.arange(shown) * 360 / shown))
    if not pipeline.requirements.seeded:
        with pytest.raises(UserError, match="every seed gives the same"):
            pipeline(image, seed=3)
    seeds = (3, 3, 4) if pipeline.requirements.seeded else (0, 0, 0)
    steps = 2 if pipeline.sampler_kinds else None
    prompt = "a cat" if pipeline.requirements.prompt == "required" else None
    first, second, other = (pipeline(image, steps=steps, seed=seed, prompt=prompt) for seed in seeds)
    made = pipeline.requirements.makes
    of = [jax.tree.leaves(getattr(result, made)) for result in (first, second, other)]
    assert all(np.isfinite(leaf).all() for leaf in of[0])
    for ours, theirs in zip(of[0], of[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    is_other = any(np.abs(ours - theirs).max() > 0 for ours, theirs in zip(of[0], of[2], strict=True))
    assert is_other == pipeline.requirements.seeded


@kinds_with("stub")
def test_what_diffuses_says_what_it_diffuses(config, batch):
    module = family(config.model)
    if not isinstance(module, Diffuses):
        pytest.skip("this family does not diffuse")
    params, frozen = fresh(config.model), module.load_frozen(config.model, "sampling")
    request = request_of(batch)
    clean = module.clean_state(config.model, params, frozen, batch)
    assert clean.shape == module.state_shape(config.model, request)

    @functools.partial(jax.jit, static_argnums=0)
    def predict(condition, params, request, clean):
        denoise = module.denoiser(config.model, params, frozen, condition(config.model, params, frozen, request))
        return denoise(clean, jnp.full(clean.shape[:1], 3, jnp.int32)).x0

    for condition in (module.condition, module.null_condition):
        predicted = predict(condition, params, request, clean)
        assert predicted.shape == clean.shape and np.isfinite(predicted).all()
    generated = module.decode(config.model, params, frozen, request, clean, None)
    images = generated.images if generated.views is None else generated.views.images
    assert images.shape[-3:] == (SIZE, SIZE, 3)


@kinds_with("stub")
def test_other_capabilities_are_complete(config):
    """What encodes decodes to the same shape; what predicts gives a batch of each prediction."""
    module = family(config.model)
    params = fresh(config.model)
    if isinstance(module, Encodes):
        x = jnp.zeros((2, SIZE, SIZE, 3))
        assert module.decode_latents(config.model, params, module.encode(config.model, params, x)).shape == x.shape
    if isinstance(module, Predicts):
        frozen = module.load_frozen(config.model, "sampling")
        found = module.predict(config.model, params, frozen, np.zeros((2, SIZE, SIZE, 3), np.float32))
        assert all(len(values) == 2 for values in found.values())


def test_a_tag_and_settings_belong_to_one_family():
    with pytest.raises(ValueError, match="diffusion_gs has that tag or those settings"):
        register("stub", DiffusionGSConfig, stub_family)
    with pytest.raises(UserError, match="no model family's settings"):
        family(RunConfig())
    with pytest.raises(DataError, match="unknown model kind"):
        from_dict({"model": {"kind": ["stub"]}})


@kinds_with(*TINY)
def test_init_can_be_traced(config):
    module = family(config.model)
    shapes = jax.eval_shape(functools.partial(module.init, config.model), jax.random.key(0))
    assert module.cost(config.model, config.data).parameters > 0 and jax.tree.leaves(shapes)
