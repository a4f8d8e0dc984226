import importlib.util
import re
import sys

import pytest


@pytest.fixture
def bench(request):
    path = request.config.rootpath / "scripts" / "bench_data.py"
    spec = importlib.util.spec_from_file_location("bench_data", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_data"] = module  # what spawned workers import
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_data"]


def options(bench, **changes):
    return bench.Options(resolution=16, batch_size=2, ahead=2, batches=1, rounds=2, objects=2, **changes)


def test_rates_without_torch(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    bench.main(options(bench))
    printed = capsys.readouterr().out
    assert "2 shipped objects of 128² enlarged to 16²" in printed
    rate = re.search(r"pipeline, 2 threads: ([\d.]+) samples/s", printed)
    assert float(rate[1]) > 0
    assert "torch is not installed" in printed


def test_the_dataloader_gets_the_very_same_samples(bench, tmp_path):
    """Only then does the comparison mean anything."""
    from diffgs_jax.data import DataConfig, training_batches

    path = bench.make_store(tmp_path / "store", options(bench))
    config = DataConfig(path=str(path), resolution=16, batch_size=2, novel_views=4, threads=0, cache_gigabytes=0.0)
    dataset = bench.PositionsOfSamples(config, 4)
    assert len(dataset) == 4
    batch = next(training_batches(config))
    for position in range(2):
        sample = dataset[position]
        assert (sample["inputs images"] == batch.inputs.images[position]).all()
        assert (sample["targets alphas"] == batch.targets.alphas[position]).all()
        assert (sample["targets camera_to_world"] == batch.targets.cameras.camera_to_world[position]).all()
        assert sample["inputs images"].shape == (4, 16, 16, 3) and sample["targets images"].shape == (4, 16, 16, 3)


@pytest.mark.long
def test_rates_beside_torch(bench, capsys):
    pytest.importorskip("torch")
    bench.main(options(bench))
    printed = capsys.readouterr().out
    assert re.search(r"pipeline / DataLoader: [\d.]+ \([\d.]+ to [\d.]+\)", printed)
