"""What is saved is what is loaded: today's checkpoints, those of earlier versions, those of several processes."""

import pathlib
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import METADATA, PARTS, assert_equal, on_device, save

from diffgs_jax.checkpoints import (
    latest_step,
    load_weights,
    read_metadata,
    restore_checkpoint,
    save_weights,
)
from diffgs_jax.checkpoints.digests import verify_digests
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.training import TrainState, init_state, state_from_parts, state_to_parts


def test_what_is_saved_is_what_is_loaded(tmp_path, capsys):
    save(tmp_path / "run" / "checkpoints", 3)
    parts, metadata = restore_checkpoint(tmp_path / "run", on_device(PARTS))
    assert metadata == METADATA == read_metadata(tmp_path / "run")
    assert_equal(parts, PARTS)
    weights = load_weights(tmp_path / "run" / "checkpoints", on_device(PARTS["ema"]))
    assert_equal(weights, jax.tree.map(lambda leaf: leaf.astype(np.float32), PARTS["ema"]))
    assert capsys.readouterr().err == ""


def test_a_checkpoint_lists_the_hashes_of_all_its_files(tmp_path):
    """As `sha256sum` checks them."""
    save(tmp_path / "run", 3)
    save_weights(tmp_path / "weights", 0, on_device(PARTS["ema"]), METADATA)
    for folder in (tmp_path / "run" / "3", tmp_path / "weights" / "0"):
        done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True)
        assert done.returncode == 0, done.stderr
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
        assert listed == files - {"SHA256SUMS"} and "_CHECKPOINT_METADATA" in listed
    # What is passed on does not name this machine's folders.
    assert all(str(tmp_path).encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_bundled_checkpoint_is_what_its_list_says(request):
    (folder,) = (request.config.rootpath / "diffgs_jax" / "checkpoints" / "furniture").iterdir()
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert verify_digests(folder, ("ema",))


def test_the_newest_are_kept_with_their_hashes(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"] and latest_step(tmp_path) == 4
    assert all((tmp_path / step / "SHA256SUMS").is_file() for step in "34")


def test_a_run_saved_before_there_were_digests_goes_on(golden_folder, tmp_path, capsys):
    """State, average and metadata of a checkpoint that an earlier version wrote; that nothing was checked is said."""
    shutil.copytree(golden_folder / "checkpoint_of_a_run", tmp_path / "run")
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))
    weights = {"blocks": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}, "scale": jnp.zeros(())}
    like = jax.tree.map(jnp.asarray, init_state(weights, optimizer))
    parts, metadata = restore_checkpoint(tmp_path / "run", state_to_parts(like))
    state = state_from_parts(parts)
    assert isinstance(state, TrainState) and jax.tree.structure(state) == jax.tree.structure(like)
    expected = np.load(tmp_path / "run" / "arrays.npz")
    found = {jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(state)}
    assert found.keys() == set(expected.files) and int(state.step) == 7
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, expected[name])
    assert metadata["data"] == {"step": 7} and metadata["counters"] == {"samples": 56, "seconds": 1.5}
    line = f"note: checkpoint {tmp_path / 'run' / '7'} carries no digests; damage to it would go unnoticed\n"
    assert capsys.readouterr().err == line
    assert_equal(load_weights(tmp_path / "run", weights), jax.tree.map(np.asarray, state.ema))
    assert capsys.readouterr().err == line


def test_a_kill_before_the_digests_leaves_a_checkpoint_that_loads(tmp_path, capsys):
    program = f"""
import os, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
from diffgs_jax.checkpoints import writing
from trees import save
writing.write_digests = lambda checkpoint: os._exit(9)
save({str(tmp_path)!r}, 5)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 9
    assert latest_step(tmp_path) == 5 and not (tmp_path / "5" / "SHA256SUMS").exists()
    parts, metadata = restore_checkpoint(tmp_path, on_device(PARTS))
    assert_equal(parts, PARTS)
    assert metadata == METADATA and capsys.readouterr().err.count("\n") == 1
    save(tmp_path, 6)
    restore_checkpoint(tmp_path, on_device(PARTS))
    assert capsys.readouterr().err == ""


def test_several_processes_save_one_checkpoint(tmp_path):
    """Each writes and later checks its share; the list has the files of both."""
    program = """
import sys, jax, numpy as np
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
folder, port, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, number)
from jax.experimental import multihost_utils
from diffgs_jax.checkpoints import digests, open_checkpoints, restore_checkpoint
mesh = jax.make_mesh((4,), ("all",), axis_types=(jax.sharding.AxisType.Auto,))
spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("all"))
values = np.arange(40.0, dtype=np.float32).reshape(8, 5)
array = jax.make_array_from_callback((8, 5), spread, lambda index: values[index])
parts = {"ema": {"a": array}, "state": {"b": array}}
with open_checkpoints(folder) as save:
    save(4, parts, {"config": {}})
    save(8, parts, {"config": {}})
multihost_utils.sync_global_devices("saved")
checked, hashes = [], digests._hashes
digests._hashes = lambda checkpoint, names: checked.extend(names) or hashes(checkpoint, names)
found, _ = restore_checkpoint(folder, parts)
for leaf in jax.tree.leaves(found):
    for shard in leaf.addressable_shards:
        np.testing.assert_array_equal(shard.data, values[shard.index])
print(*checked)
"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", program, str(tmp_path), str(port)]
    pair = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    for step in "48":
        sums = (tmp_path / step / "SHA256SUMS").read_text()
        assert "  ema/ocdbt.process_0/" in sums and "  state/ocdbt.process_1/" in sums
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / step, check=True)
    shares = [set(out.splitlines()[-1].split()) for out, _ in outputs]
    top = {"_CHECKPOINT_METADATA", "commit_success.txt"}  # which `read_metadata` looks at in every process
    assert shares[0] & shares[1] <= top
    assert shares[0] | shares[1] == {line.split("  ")[1] for line in sums.splitlines()}
    assert all("no digests" not in err for _, err in outputs)


def test_weights_of_another_architecture_are_refused_and_lacking_ones_filled_in(tmp_path):
    save_weights(tmp_path, 0, {"a": jnp.ones(3), "b": jnp.ones(2)}, METADATA)
    like = {"a": jnp.zeros(3), "b": jnp.zeros(2), "c": jnp.full(4, 7.0)}
    with pytest.raises(DataError, match="another architecture: .*'c'.* is missing"):
        load_weights(tmp_path, like)
    found = load_weights(tmp_path, like, like)
    assert_equal(found, {"a": np.ones(3, np.float32), "b": np.ones(2, np.float32), "c": np.full(4, 7, np.float32)})
    with pytest.raises(DataError, match=r"another architecture: .*'a'.* is \(3,\), expected \(4,\)"):
        load_weights(tmp_path, {"a": jnp.zeros(4), "b": jnp.zeros(2)})
    with pytest.raises(DataError, match="another architecture: .*'b'.* is unknown"):
        load_weights(tmp_path, {"a": jnp.zeros(3)})


@pytest.mark.parametrize("name", ["none", "empty", "a" * 300, "file"])
def test_where_there_is_no_checkpoint_it_is_one_line(tmp_path, name):
    (tmp_path / "empty" / "²").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for read in (read_metadata, lambda folder: load_weights(folder, {}), lambda folder: restore_checkpoint(folder, {})):
        with pytest.raises(UserError, match="^[^\n]+$"):
            read(tmp_path / name)


def test_orbax_is_not_imported_before_it_is_needed():
    program = "import sys, diffgs_jax.checkpoints; sys.exit(any(name.startswith('orbax') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
