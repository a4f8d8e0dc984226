import dataclasses
import json

import pytest

from diffgs_jax.config import apply_overrides, from_dict, load_config, to_dict
from diffgs_jax.errors import DataError, UserError


@pytest.fixture
def config(request):
    return load_config(request.config.rootpath / "configs" / "diffusion_gs" / "quickstart.py")


def test_every_config_survives_json(request):
    for path in sorted((request.config.rootpath / "configs").glob("*/*.py")):
        config = load_config(path)
        fields = json.loads(json.dumps(to_dict(config)))
        assert fields["model"]["kind"] == path.parent.name
        assert from_dict(fields) == config


def test_overrides_change_one_field_and_nothing_else(config):
    changed = apply_overrides(config, ["--run.steps", "7", "--model.network.width=64"])
    assert changed.run.steps == 7 and changed.model.network.width == 64
    run = dataclasses.replace(changed.run, steps=config.run.steps)
    network = dataclasses.replace(changed.model.network, width=config.model.network.width)
    assert dataclasses.replace(changed, run=run, model=dataclasses.replace(changed.model, network=network)) == config


def test_a_wrong_override_is_named_and_the_right_one_suggested(config):
    with pytest.raises(UserError, match=r"unknown config field --run\.step; did you mean --run\.steps\?"):
        apply_overrides(config, ["--run.step", "7"])


def test_an_unknown_field_or_kind_in_a_file_is_named(config):
    fields = to_dict(config)
    fields["data"]["colour"] = 1
    with pytest.raises(DataError, match="colour"):
        from_dict(fields)
    fields = to_dict(config)
    fields["model"]["kind"] = "nerf"
    with pytest.raises(DataError, match="unknown model kind 'nerf'"):
        from_dict(fields)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["--data.resolution", "60"], "multiple of model.network.patch_size"),
        (["--data.background", "0.5"], "must be equal"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config, override, message):
    with pytest.raises(UserError, match=message):
        apply_overrides(config, override)


def test_a_missing_or_foreign_config_file_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no config file"):
        load_config(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match=r"defines no get_config"):
        load_config(tmp_path / "empty.py")
    (tmp_path / "broken.py").write_text("def get_config(:")
    with pytest.raises(UserError, match=r"broken\.py cannot be run: SyntaxError"):
        load_config(tmp_path / "broken.py")
