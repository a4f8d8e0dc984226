import json

import numpy as np
import pytest
from known import known_splat

from diffgs_jax import optimization, optimize
from diffgs_jax.data import encode_record
from diffgs_jax.data.store import write_store
from diffgs_jax.interop import read_gaussians, write_gaussians

OPTIONS = (
    "--held-out 4 --steps 200 --capacity 48 --start-count 32 --sh-degree 1 --growth-every 50 --growth-from 50 "
    "--by-relocation.growth 0.2 --preview-every 100"
)


@pytest.fixture(scope="module")
def store(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "store"
    alone = record._replace(
        uid="alone", images=record.images[:1], cameras=type(record.cameras)(*(leaf[:1] for leaf in record.cameras))
    )
    records = [(one.uid, lambda one=one: encode_record(one)) for one in (record, alone)]
    write_store(path, {"test": records}, {"name": "known"})
    return path


def fit(store, out, *more, record="known"):
    optimize.main(["fit", "--data", str(store), "--record", record, "--out", str(out), *OPTIONS.split(), *more])


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_splat(store, tmp_path, monkeypatch, capsys):
    fit(store, tmp_path / "whole", "--formats", "ply", "spz")
    said = capsys.readouterr().out
    told = json.loads((tmp_path / "whole" / "fit.json").read_text())
    assert told["scores"]["held_out"]["bbox_psnr"] > 25 and len(told["scores"]["of_each_held_out"]["psnr"]) == 4
    assert f"{told['scores']['held_out']['bbox_psnr']:.2f} dB" in said
    assert told["images"]["fitted"] == 12 and told["images"]["held_out"] == [0, 4, 8, 12]
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {"gaussians.ply", "gaussians.spz", "views.png", "fit.json", "previews"}
    assert len(list((tmp_path / "whole" / "previews").iterdir())) == 2
    assert told["gaussians"] == len(read_gaussians(tmp_path / "whole" / "gaussians.ply").opacities)

    real = optimization.fit

    def killed(*arguments, **options):
        for now in real(*arguments, **options):
            yield now
            if now.step >= 100:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optimization, "fit", killed)
        with pytest.raises(SystemExit) as stop:
            fit(store, tmp_path / "parts", "--save-seconds", "0")
    assert stop.value.code == 130 and not (tmp_path / "parts" / "fit.json").exists()
    fit(store, tmp_path / "parts", "--save-seconds", "0")
    ours, theirs = ((tmp_path / name / "gaussians.ply").read_bytes() for name in ("parts", "whole"))
    assert ours == theirs
    assert not list(tmp_path.glob("*.partial-*"))


def refused(capsys, code, *words):
    with pytest.raises(SystemExit) as stop:
        optimize.main([str(word) for word in words])
    error = capsys.readouterr().err
    assert stop.value.code == code and error.count("\n") == 1, error
    return error


def test_what_cannot_be_fitted_is_one_line(store, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    assert "usage" in refused(capsys, 2, "melt")
    assert "holds several records" in refused(capsys, 2, "fit", "--data", store, *out)
    assert "no record 'chair' (there is known, alone)" in refused(
        capsys, 2, "fit", "--data", store, "--record", "chair", *out
    )
    assert "one image does not say" in refused(capsys, 1, "fit", "--data", store, "--record", "alone", *out)
    assert "--memory 1e-05" in refused(capsys, 2, "fit", "--data", store, "--record", "known", "--memory", "1e-5", *out)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"")
    assert "images without poses" in refused(capsys, 2, "fit", "--data", tmp_path / "images", *out)
    (tmp_path / "posed").mkdir()
    (tmp_path / "posed" / "transforms.json").write_text('{"camera_angle_x": 0.8, "frames": [{"file_path": "a.png"}]}')
    (tmp_path / "posed" / "a.png").write_bytes(b"")
    assert "no readable pose" in refused(capsys, 1, "fit", "--data", tmp_path / "posed", *out)
    assert "held-out" in refused(capsys, 2, "fit", "--data", store, "--held-out", "-1", *out)

    write_gaussians(tmp_path / "start.ply", known_splat())
    start = ("fit", "--data", store, "--record", "known", *out, "--start-splat", tmp_path / "start.ply")
    assert "12 Gaussians, more than --capacity 8" in refused(capsys, 2, *start, "--capacity", "8", "--start-count", "4")
    damaged = bytearray((tmp_path / "start.ply").read_bytes())
    damaged[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "start.ply").write_bytes(damaged)
    assert "not finite" in refused(capsys, 1, *start)
    assert not (tmp_path / "out" / "fit.json").exists()
