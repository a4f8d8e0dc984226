"""The autoencoder of splat grids and images: the published networks by golden files, the stages by what they train."""

import dataclasses
import functools
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stub_reconstructor

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import OptimizerConfig, TrainConfig, to_dict
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, Cameras, Views, orbit
from diffgs_jax.models import Batch, DecodesQuickly, family
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.gsrecon import GSReconConfig, ReconstructionLossConfig, ReconstructorConfig
from diffgs_jax.models.gsvae import (
    AutoencoderConfig,
    AutoencoderLossConfig,
    GSVAEConfig,
    TinyDecoderConfig,
    published,
)
from diffgs_jax.models.gsvae.network import (
    Posterior,
    decode_raw,
    decode_tiny,
    divergence,
    encode_posterior,
    from_diffusion,
    param_shapes,
    to_diffusion,
)
from diffgs_jax.training import make_optimizer
from diffgs_jax.weights import nested, read_params, tensors_of

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module", params=["sd", "sd3"])
def golden(request):
    with np.load(GOLDEN / f"diffsplat_gsvae_{request.param}.npz") as file:
        values = dict(file)
    tensors = tensors_of({name[3:]: values[name] for name in values if name.startswith("sd/")})
    assert published.recognizes(list(tensors))
    tensors = published.adapted(tensors)
    groups = json.loads(str(values["config"]))["norm_num_groups"]
    config = published.read_config(tensors.shapes, groups=groups)
    params = nested(read_params(param_shapes(config), published.naming(config), tensors))
    return types.SimpleNamespace(values=values, config=config, params=params)


def close(ours, theirs, tolerance=1e-4):
    """Ours are channels last."""
    theirs = np.moveaxis(theirs, 1, -1)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.slow
def test_latents_are_the_published_ones(golden):
    values, config = golden.values, golden.config
    assert config.scaling_factor == pytest.approx(float(values["scaling_factor"]))
    assert config.shift_factor == pytest.approx(float(values["shift_factor"]))
    grid = np.moveaxis(values["in/grid"], 1, -1)
    posterior = jax.jit(functools.partial(encode_posterior, config))(golden.params, grid)
    close(posterior.mean, values["mean"])
    close(posterior.log_variance, values["logvar"])
    drawn = posterior.mean + np.exp(posterior.log_variance / 2) * np.moveaxis(values["sample_eps"], 1, -1)
    close(drawn, values["sample"])
    np.testing.assert_allclose(divergence(posterior), values["kl_per_sample"], rtol=1e-4)
    known = to_diffusion(config, posterior.mean)
    close(known, values["z_denoiser"])
    close(from_diffusion(config, known), values["z_back"])


@pytest.mark.slow
def test_decoded_grids_are_the_published_ones(golden):
    values, config = golden.values, golden.config
    module = family(config)
    assert isinstance(module, DecodesQuickly)

    @jax.jit
    def decode(params, z, known):
        by_interface = module.decode_latents(config, params, known), module.decode_quickly(config, params, known)
        return decode_raw(config, params, z), decode_tiny(config, params, known), *by_interface

    z, known = (np.moveaxis(values[name], 1, -1) for name in ("mean", "z_denoiser"))
    decoded, quickly, clipped, quickly_clipped = decode(golden.params, z, known)
    for ours, name in ((decoded, "decoded_unclamped"), (quickly, "tiny/decoded_unclamped")):
        close(ours[:, ::3, ::3], values[name])
    for ours, raw in ((clipped, decoded), (quickly_clipped, quickly)):
        np.testing.assert_allclose(ours, np.clip(raw, -1, 1), atol=1e-4)
    with pytest.raises(UserError, match="are of another one"):
        module.decode_latents(config, golden.params, jnp.asarray(known[..., :3]))


def test_wider_ends_are_tiled():
    with np.load(GOLDEN / "diffsplat_gsvae_sd.npz") as file:
        values = dict(file)
    names = {
        "encoder.conv_in.weight": "vae.encoder.conv_in.weight",
        "decoder.conv_out.weight": "vae.decoder.conv_out.weight",
        "decoder.conv_out.bias": "vae.decoder.conv_out.bias",
        "tiny_decoder.layers.last.weight": "tiny_decoder.layers.18.weight",
        "tiny_decoder.layers.last.bias": "tiny_decoder.layers.18.bias",
    }
    before = tensors_of({ours: values[f"tile/{theirs}/before"] for theirs, ours in names.items()})
    tiled = published.adapted(before, channels=12)
    for theirs, ours in names.items():
        np.testing.assert_array_equal(tiled[ours], values[f"tile/{theirs}/after"])
        assert tiled.shapes[ours] == tiled[ours].shape
    with pytest.raises(UserError, match="no multiple"):
        published.adapted(before, channels=10)


@pytest.mark.slow
@pytest.mark.parametrize(("latents", "count", "tiny"), [(4, 83_674_608, 1_227_724), (16, 83_840_428, 1_234_636)])
def test_full_size_has_the_published_number_of_weights(latents, count, tiny):
    config = GSVAEConfig(network=AutoencoderConfig(latents=latents, projections=latents == 4))
    shapes = param_shapes(config)
    assert parameter_count(shapes["autoencoder"]) == count
    assert parameter_count(shapes["tiny_decoder"]) == tiny


SMALL = GSVAEConfig(
    network=AutoencoderConfig(channels=stub_reconstructor.CHANNELS, latents=3, widths=(4, 8), blocks=1, groups=2),
    tiny=TinyDecoderConfig(width=4, blocks=1),
    losses=AutoencoderLossConfig(kl=1e-3),
)
DATA = DataConfig(resolution=8, condition_views=2, noisy_views=0, novel_views=1)


@pytest.fixture(scope="module")
def reconstructor(tmp_path_factory):
    """A checkpoint of the stub."""
    folder = tmp_path_factory.mktemp("gsvae") / "reconstructor"
    model = stub_reconstructor.StubGridsConfig(brightness=0.75)
    params = family(model).init(model, jax.random.key(3))
    save_weights(folder, 1, params, {"config": to_dict(TrainConfig(model=model)), "counters": {}}, compress=False)
    return folder


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    cameras = Cameras(*(np.stack([leaf, leaf]) for leaf in orbit(np.asarray([0.0, 90.0, 180.0]))))
    images = random.random((2, 3, 8, 8, 3), np.float32)

    def views(part, flag):
        chosen = Cameras(*(leaf[:, part] for leaf in cameras))
        count = images[:, part].shape[1]
        return Views(images[:, part], chosen, np.full((2, count), flag), np.full(2, OBJECT, np.int32))

    return Batch(views(slice(0, 2), True), views(slice(2, 3), False), np.arange(2, dtype=np.int32))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tiny_decoder", "autoencoder"])
def test_a_stage_trains_its_part_alone(stage, reconstructor, batch):
    """Strong decay, which knows no gradient, leaves the other part as it is, to the last bit."""
    config = dataclasses.replace(SMALL, stage=stage, reconstructor=str(reconstructor))
    module = family(config)
    module.check(config, DATA)
    assert module.requirements(config).condition_views == (2, 2) and module.requirements(config).makes == "nothing"
    frozen = module.load_frozen(config, "training")
    assert frozen["reconstructor"].config.brightness == 0.75 and module.load_frozen(config, "sampling") == {}
    params = jax.jit(functools.partial(module.init, config))(jax.random.key(0))
    settings = OptimizerConfig(weight_decay=0.5, warmup_steps=1, learning_rate=1e-2)
    optimizer = make_optimizer(settings, 10, module.is_hidden_matrix, functools.partial(module.is_trained, config))

    @jax.jit
    def step(params, state, number):
        def loss(params):
            return module.loss(config, params, frozen, batch, jax.random.key(number), number)

        (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), state, metrics

    state, moved, values = optimizer.init(params), params, []
    for number in range(4):
        moved, state, metrics = step(moved, state, number)
        values.append(float(metrics["loss"]))
    parts = dict.fromkeys(("autoencoder", "tiny_decoder"), False)
    for part in parts:
        pairs = zip(jax.tree.leaves(params[part]), jax.tree.leaves(moved[part]), strict=True)
        parts[part] = any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)
    assert parts == {part: part == stage for part in parts}
    assert np.isfinite(values).all() and values[-1] < values[0]


def test_the_loss_is_the_sum_of_its_terms(reconstructor, batch):
    """With the network's zero output, every term is known without it."""
    config = dataclasses.replace(
        SMALL,
        reconstructor=str(reconstructor),
        losses=AutoencoderLossConfig(reconstruction=2.0, rendering=3.0, kl=0.5),
    )
    module = family(config)
    frozen = module.load_frozen(config, "training")
    params = jax.jit(functools.partial(module.init, config))(jax.random.key(0))
    key, step = jax.random.key(1), jnp.asarray(0, jnp.int32)
    value, metrics = jax.jit(functools.partial(module.loss, config))(params, frozen, batch, key, step)
    model = frozen["reconstructor"]
    grids = np.asarray(stub_reconstructor.grids(model.config, model.params, {}, batch.inputs))
    np.testing.assert_allclose(metrics["reconstruction"], np.mean(grids**2), rtol=1e-5)
    rendering = stub_reconstructor.grid_loss(model.config, {}, np.zeros_like(grids), batch, key, step)[0]
    np.testing.assert_allclose(metrics["rendering"], rendering, rtol=1e-5)
    np.testing.assert_allclose(metrics["rendering_image"], rendering, rtol=1e-5)
    sum_ = 2 * metrics["reconstruction"] + 3 * metrics["rendering"] + 0.5 * metrics["kl"]
    np.testing.assert_allclose(value, sum_, rtol=1e-5)


@pytest.mark.slow
def test_grids_of_the_reconstructor_are_trained_on(tmp_path, batch):
    """The real one in place of the stub: its loss with its own grids is its loss; the autoencoder's falls."""
    network = ReconstructorConfig(width=16, layers=1, heads=1, hidden=16, patch_size=4)
    model = GSReconConfig(network=network, views=2, losses=ReconstructionLossConfig(perceptual=0.0))
    params = jax.jit(functools.partial(family(model).init, model))(jax.random.key(0))
    fields = to_dict(TrainConfig(model=model))
    save_weights(tmp_path / "grids", 1, params, {"config": fields, "counters": {}}, compress=False)
    key, step = jax.random.key(1), jnp.asarray(0, jnp.int32)

    @jax.jit
    def both(params, batch):
        grids = family(model).grids(model, params, {}, batch.inputs)
        one = family(model).grid_loss(model, {}, grids, batch, key, step)[0]
        return grids, one, family(model).loss(model, params, {}, batch, key, step)[0]

    grids, one, other = both(params, batch)
    assert grids.shape[1:] == family(model).grid_shape(model, 2, 8)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    config = dataclasses.replace(
        SMALL, network=dataclasses.replace(SMALL.network, channels=12), reconstructor=str(tmp_path / "grids")
    )
    module = family(config)
    module.check(config, DATA)
    frozen = module.load_frozen(config, "training")
    start = jax.jit(functools.partial(module.init, config))(jax.random.key(0))

    @jax.jit
    def graded(params):
        loss = functools.partial(module.loss, config, frozen=frozen, batch=batch, key=key, step=step)
        return jax.value_and_grad(lambda params: loss(params=params)[0])(params)

    value, gradient = graded(start)
    moved = jax.tree.map(lambda leaf, slope: leaf - 1e-3 * slope, start, gradient)
    assert graded(moved)[0] < value


def test_the_divergence_is_that_of_normals():
    """Against a sum over a fine grid of one number: mean 0.4, standard deviation 1.7."""
    places = np.linspace(-30, 30, 200_001)
    density = np.exp(-(((places - 0.4) / 1.7) ** 2) / 2) / (1.7 * np.sqrt(2 * np.pi))
    logs = -(((places - 0.4) / 1.7) ** 2) / 2 - np.log(1.7) + places**2 / 2
    expected = np.sum(density * logs) * (places[1] - places[0])
    shape = (1, 2, 3, 1)
    found = divergence(Posterior(jnp.full(shape, 0.4), jnp.full(shape, 2 * np.log(1.7))))
    np.testing.assert_allclose(found, [6 * expected], rtol=1e-4)


def test_settings_of_autoencoders_that_contradict_each_other_are_one_line(reconstructor, tmp_path):
    module = family(SMALL)
    images = dataclasses.replace(SMALL, network=dataclasses.replace(SMALL.network, channels=3))
    plain = dataclasses.replace(DATA, condition_views=0, noisy_views=1, novel_views=0)
    module.check(images, plain)
    grids = dataclasses.replace(SMALL, reconstructor=str(reconstructor))

    def changed(config, **network):
        return dataclasses.replace(config, network=dataclasses.replace(config.network, **network))

    for config, data, message in (
        (SMALL, plain, "are no image's; name the checkpoint"),
        (changed(grids, channels=12), DATA, "must be 5, the grids' of"),
        (changed(grids, widths=(4,) * 5), DATA, "which must be multiples of 16"),
        (changed(images, groups=3), plain, "groups 3 does not divide"),
        (changed(images, widths=(4,) * 5), plain, "must be a multiple of 16"),
        (images, DATA, "must be 0: an autoencoder of images"),
        (dataclasses.replace(images, tiny=TinyDecoderConfig(0), stage="tiny_decoder"), plain, "leaves out"),
        (dataclasses.replace(grids, losses=AutoencoderLossConfig(perceptual=1.0)), DATA, "is of images"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            module.check(config, data)
        assert "\n" not in str(caught.value)
    untrained = dataclasses.replace(grids, reconstructor=str(tmp_path / "none"))
    module.check(untrained, DATA)
    with pytest.raises(UserError, match="no checkpoint folder"):
        module.requirements(untrained)
    save_weights(
        tmp_path / "other",
        1,
        {"a": np.zeros(3)},
        {"config": to_dict(TrainConfig(SMALL)), "counters": {}},
        compress=False,
    )
    with pytest.raises(UserError, match="no model that makes splat grids"):
        module.requirements(dataclasses.replace(grids, reconstructor=str(tmp_path / "other")))
    (tmp_path / "strange").mkdir()
    fields = to_dict(TrainConfig(model=stub_reconstructor.StubGridsConfig()))
    fields["model"]["nonsense"] = 1
    save_weights(tmp_path / "strange", 1, {"a": np.zeros(3)}, {"config": fields, "counters": {}}, compress=False)
    with pytest.raises(DataError, match="nonsense"):
        module.requirements(dataclasses.replace(grids, reconstructor=str(tmp_path / "strange")))


def test_what_cannot_be_encoded_is_one_line():
    images = dataclasses.replace(SMALL, network=dataclasses.replace(SMALL.network, channels=3))
    module = family(images)
    params = jax.eval_shape(functools.partial(module.init, images), jax.random.key(0))
    for shape, message in (((1, 8, 8, 4), "encodes 3 channels, not 4"), ((1, 7, 8, 3), "multiples of 2")):
        with pytest.raises(UserError, match=message):
            module.encode(images, params, jnp.zeros(shape))
