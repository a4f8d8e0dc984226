"""ControlNets: published runs, the pictures they are shown, training beside a frozen model, and lists of them."""

import dataclasses
import functools
import importlib.util
import json
import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tiny_controlled
from diffsplat_golden import difference, golden, last, params_of
from exact_arrays import load_exact, under
from test_diffsplat_sampling import conditions, config_as_published

from diffgs_jax import sample as sample_command
from diffgs_jax.checkpoints import load_weights, read_metadata, save_weights
from diffgs_jax.commands.training import train
from diffgs_jax.config import RunConfig, TrainConfig, from_dict, to_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import DataConfig, Record, encode_record
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.maps import encode_depth
from diffgs_jax.data.store import write_store
from diffgs_jax.diffusion import classifier_free_guidance, make_schedule, sample, sampler_from_config
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import orbit
from diffgs_jax.inference import load
from diffgs_jax.inference.controls import window_times
from diffgs_jax.models import Control, family
from diffgs_jax.models.control_pictures import depth_picture, normal_picture
from diffgs_jax.models.controlnet import ControlNetModelConfig
from diffgs_jax.models.diffsplat.family import denoiser, sampler_config
from diffgs_jax.models.edges import canny
from diffgs_jax.models.layers.latent_unet import CONTROLNET_NAMES, controlnet_config, controlnet_shapes
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.weights import nested, read_params, tensors_of

ROOT = pathlib.Path(__file__).parents[2]


def test_edges_are_those_of_opencv():
    random = np.random.default_rng(0)
    noise = cv2.GaussianBlur(random.uniform(0, 255, (2, 40, 56)).transpose(1, 2, 0), (0, 0), 1.5).transpose(2, 0, 1)
    steps = np.kron(random.integers(0, 255, (5, 7)), np.ones((8, 8)))
    gray = np.stack([np.clip(4 * (noise[0] - 128) + 128, 0, 255), steps, noise[1]]).astype(np.uint8)
    found = np.asarray(jax.jit(canny)(gray.astype(np.int32)))
    for ours, image in zip(found, gray, strict=True):
        np.testing.assert_array_equal(ours, cv2.Canny(image, 100, 200) > 0)
    assert 0.01 < found.mean() < 0.5


def test_pictures_are_as_published():
    """1 − z / z_max, n/2 + 1/2, white behind, and half of each where half is covered."""
    depth = np.asarray([[[2.0, 4.0], [np.nan, 1.0]]])
    alpha = np.asarray([[[1.0, 1.0], [0.0, 0.5]]])
    np.testing.assert_allclose(jax.jit(depth_picture)(depth, alpha)[0, ..., 0], [[0.5, 0.0], [1.0, 0.875]], atol=1e-6)
    normals = np.zeros((1, 2, 2, 3))
    normals[0, 0, 0] = [0, 0, 1]
    turn = np.asarray([[[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]])
    picture = jax.jit(normal_picture)(normals, turn, alpha)
    np.testing.assert_allclose(picture[0, 0, 0], [1.0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(picture[0, 1, 0], 1.0)


def test_windows_become_times():
    times = np.asarray([999, 749, 499, 249])
    assert window_times(times, 0.0, 1.0).tolist() == [999, 249]
    assert window_times(times, 0.25, 0.75).tolist() == [749, 499]
    nothing = window_times(times, 0.3, 0.4)
    assert not any(nothing[1] <= time <= nothing[0] for time in times)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["scale0.8", "guess0.8", "window"])
def test_published_runs_with_a_controlnet(run):
    arrays, config = golden("guidance"), config_as_published("unet_sd15", "text")
    latents = last(arrays[f"controlnet_{run}/latents"])
    latents = latents.reshape(len(latents), 2, 4, *latents.shape[2:])
    tensors = under(load_exact(ROOT / "tests" / "golden" / "diffsplat_controlnet.npz"), "sd/")
    network = controlnet_config(dataclasses.replace(config.unet, inputs=10), tensors_of(tensors))
    params = nested(read_params(controlnet_shapes(network), CONTROLNET_NAMES, tensors_of(tensors)))
    settings = dataclasses.replace(sampler_config(config, "ddim"), eta=0.0)
    table = sampler_from_config(make_schedule(config.schedule), settings, len(latents) - 1)
    window = window_times(np.asarray(table.timesteps), 0.0, 0.5 if run == "window" else 1.0)
    scale = np.asarray(1.0 if run == "window" else 0.8, np.float32)
    picture = last(arrays["controlnet/image_u8"]).astype(np.float32) / 255
    guess = run.startswith("guess")
    control = Control(ControlNetModelConfig(network=network), params, picture, scale, window, guess)
    given, nothing = conditions(config, "unet_sd15", "text", 2, None)
    given = given._replace(controls=(control,))
    nothing = nothing._replace(controls=() if guess else (control,))

    @jax.jit
    def whole(params, told, start):
        parts = (denoiser(config, params, {}, one) for one in told)
        return sample(classifier_free_guidance(*parts, jnp.float32(7.5)), table, None, start).x0

    found = whole(params_of("unet_sd15", "text"), (given, nothing), jnp.asarray(latents[0]))
    assert difference(found, latents[-1]) < 1e-3


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_controlled.write_base(tmp_path_factory.mktemp("controlled"))


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Discs with depth, seen from around."""
    folder, size = tmp_path_factory.mktemp("discs") / "store", tiny_controlled.SIZE
    disc = np.hypot(*np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]) < 0.7

    def records(names):
        for number, name in enumerate(names):
            pixels = np.full((size, size, 4), 40 * number, np.uint8)
            pixels[..., 3] = 255 * disc
            depth = np.where(disc, 2.0 + 0.5 * np.mgrid[:size, :size][0] / size, np.nan).astype(np.float32)
            images, maps = [encode_webp(pixels)] * 4, {"depth": encode_depth(np.stack([depth] * 4))}
            record = Record(name, "object", images, orbit(np.arange(4) * 90.0), maps=maps, name=name)
            yield name, lambda record=record: encode_record(record)

    write_store(folder, {"train": list(records("abcd")), "test": list(records("xy"))}, {"name": "discs"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("picture", "source"), [("depth", "records"), ("normal", "splat")])
def test_training_moves_the_controlnet_alone_and_begins_with_the_base(base, discs, tmp_path, picture, source):
    model = dataclasses.replace(tiny_controlled.CONTROLNET, base=base, picture=picture, source=source)
    data = DataConfig(
        path=str(discs), resolution=16, batch_size=2, condition_views=0, noisy_views=3, novel_views=0, threads=0
    )
    run = RunConfig(folder=str(tmp_path / "run"), steps=2, preview_every=0, log_every=1, checkpoint_every=2)
    state = train(TrainConfig(model=model, data=data, run=run))
    config = from_dict(read_metadata(base)["config"]).model
    shapes = jax.eval_shape(functools.partial(family(config).init, config), jax.random.key(0))
    encoder = load_weights(base, shapes)["denoiser"]["encoder"]
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), state.params["encoder"], encoder)
    assert 0 < max(jax.tree.leaves(moved)) < 0.01  # two steps of Adam from the base's own
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(state.params["down"]))  # were zero


@pytest.fixture(scope="module")
def nets(base, tmp_path_factory):
    """Two ControlNets with random weights."""
    folder, config = tmp_path_factory.mktemp("nets"), tiny_controlled.CONTROLNET
    params = tiny_controlled.shaken(jax.jit(functools.partial(family(config).init, config))(jax.random.key(0)))
    for name in ("depth", "canny"):
        settings = to_dict(TrainConfig(model=dataclasses.replace(config, picture=name, base=base)))
        save_weights(folder / name, 1, params, {"config": settings, "counters": {"samples": 0}})
    return folder


@pytest.mark.slow
def test_lists_of_controlnets_steer_and_what_makes_no_sense_is_one_line(base, nets, tmp_path, capsys):
    picture, splat = tmp_path / "edges.png", tmp_path / "made" / "gaussians.ply"
    pixels = np.full((16, 16, 3), 255, np.uint8)
    pixels[4:12, 4:12] = 40
    cv2.imwrite(str(picture), pixels)
    common = ["--checkpoint", base, "--prompt", "a", "--steps", "2", "--frames", "0"]
    sample_command.main([*common, "--out", str(tmp_path / "made")])
    pipeline = load(base)
    files, both = {"control": (picture,)}, {"controlnet": (nets / "depth", nets / "canny")}
    ask = functools.partial(pipeline, prompt="a", steps=2, **files)
    plain = pipeline(prompt="a", steps=2).gaussians.sh
    one, two = (ask(controlnet=(nets / "depth",), control_scale=(scale,)).gaussians.sh for scale in (1.0, 2.0))
    listed = ask(**both).gaussians.sh
    np.testing.assert_allclose(listed, two, atol=1e-4)  # the same network and picture, twice
    assert np.abs(one - plain).max() > 1e-3 and np.abs(two - one).max() > 1e-3
    off = ask(**both, control_scale=(0.0, 0.0)).gaussians.sh
    np.testing.assert_allclose(off, plain, atol=1e-5)
    outside = ask(**both, control_window=(0.1, 0.2)).gaussians.sh
    np.testing.assert_allclose(outside, plain, atol=1e-5)
    guessed = ask(**both, guess_mode=True).gaussians.sh
    assert np.abs(guessed - listed).max() > 1e-3
    out = tmp_path / "steered"
    words = ["--controlnet", str(nets / "depth"), str(nets / "canny"), "--control", str(splat), str(picture)]
    sample_command.main([*common, *words, "--control-from", "picture", "--matting", "keep", "--out", str(out)])
    again = tmp_path / "again"
    sample_command.main(["--repeat", str(out / "sample.json"), "--out", str(again)])
    assert (out / "gaussians.ply").read_bytes() == (again / "gaussians.ply").read_bytes()
    record = json.loads((out / "sample.json").read_text())
    assert str(splat) in record["inputs"] and str(picture) in record["inputs"]
    net = ["--controlnet", str(nets / "depth")]
    for words, line in (
        (["--control", str(picture)], "name one with --controlnet"),
        (net, "--control takes one value"),
        ([*net, "--control", str(tmp_path / "no.png")], "there is no such file"),
        ([*net, "--control", str(picture), "--control-from", "picture"], "depth cannot be read off a picture"),
        ([*net, "--control", str(picture), "--control-window", "0.5", "0.2"], "--control-window is two fractions"),
        ([*net, "--control", str(picture), "--control-scale", "1", "1"], "not 2"),
        (["--controlnet", base, "--control", str(picture)], "is no ControlNet"),
    ):
        with pytest.raises(SystemExit):
            sample_command.main([*common, "--out", str(tmp_path / "no"), *words])
        told = capsys.readouterr().err
        assert line in told and told.count("\n") == 1


@pytest.mark.slow
def test_what_cannot_be_steered_is_refused_in_a_line(base):
    config = dataclasses.replace(tiny_controlled.CONTROLNET, base=base)
    module, steered = family(config), from_dict(read_metadata(base)["config"]).model
    module.check_base(config, steered)
    unet = dataclasses.replace(tiny_controlled.UNET, groups=2)
    for changes, other, line in (
        ({"network": dataclasses.replace(config.network, unet=unet)}, steered, "a U-Net with groups 2"),
        ({"network": dataclasses.replace(config.network, picture_widths=(4, 8))}, steered, "halve pictures 1 times"),
        ({}, dataclasses.replace(steered, backbone="pixart_sigma"), "U-Nets only"),
        ({}, config, "diffsplat models only"),
    ):
        with pytest.raises(UserError, match=line):
            module.check_base(dataclasses.replace(config, **changes), other)


@pytest.mark.slow
def test_published_folders_are_imported(base, tmp_path):
    """Built like the denoiser that it steers, whatever its own config.json says."""
    tensors = under(load_exact(ROOT / "tests" / "golden" / "diffsplat_controlnet.npz"), "sd/")
    unet = dataclasses.replace(config_as_published("unet_sd15", "text").unet, inputs=10)
    steered = tmp_path / "steered"
    settings = from_dict(read_metadata(base)["config"])
    model = dataclasses.replace(settings.model, unet=unet)
    metadata = {"config": to_dict(dataclasses.replace(settings, model=model)), "counters": {"samples": 0}}
    save_weights(steered, 1, {"nothing": np.zeros(1)}, metadata)
    folder = tmp_path / "gsdiff_sd15__render__depth" / "checkpoints" / "065100" / "controlnet"
    folder.mkdir(parents=True)
    contiguous = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    safetensors.numpy.save_file(contiguous, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({"in_channels": 4}))
    spec = importlib.util.spec_from_file_location("import_controlnets", ROOT / "scripts" / "import_checkpoint.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    words = ["--in", str(folder), "--out", str(tmp_path / "imported"), "--steered", str(steered)]
    script.main(parse_options(script.ImportConfig, words))
    config = from_dict(read_metadata(tmp_path / "imported")["config"]).model
    assert config.picture == "depth" and config.network.unet == unet
    shapes = jax.eval_shape(functools.partial(family(config).init, config), jax.random.key(0))
    params = load_weights(tmp_path / "imported", shapes)
    np.testing.assert_array_equal(
        np.moveaxis(np.asarray(params["encoder"]["input"]["kernel"]), (3, 2), (0, 1)), tensors["conv_in.weight"]
    )
    with pytest.raises(UserError, match="name its checkpoint with --steered"):
        script.convert(parse_options(script.ImportConfig, words[:4]))
    other = dataclasses.replace(model, unet=LatentUNetConfig(text_width=32))
    metadata = {"config": to_dict(dataclasses.replace(settings, model=other)), "counters": {"samples": 0}}
    save_weights(tmp_path / "other", 1, {"nothing": np.zeros(1)}, metadata)
    with pytest.raises(DataError, match="does not fit"):
        script.convert(parse_options(script.ImportConfig, [*words[:5], str(tmp_path / "other")]))
