"""What docs/python-api.md says is run, block after block, as a reader would."""

import contextlib
import io
import re
import shutil

import jax
import pytest


@pytest.fixture(autouse=True)
def optimized_programs():
    """The bundled model runs here at its full size, where slow programs cost more than their compiling saves."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.slow
def test_the_documentation_runs(request, tmp_path, monkeypatch):
    root = request.config.rootpath
    text = (root / "docs" / "python-api.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 9
    (tmp_path / "assets").mkdir()
    shutil.copy(root / "assets" / "example.png", tmp_path / "assets")
    monkeypatch.chdir(tmp_path)
    said, names = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        for block in blocks:
            exec(compile(block, "docs/python-api.md", "exec"), names)

    assert {path.name for path in tmp_path.iterdir()} >= {"chair.ply", "chair.spz", "chair.mp4", "chair.glb"}
    # Shapes and lists that comments promise are those that were printed.
    promised = re.findall(r"print\(.*\)  # ([(\[].*?[)\]])", text)
    assert len(promised) >= 5
    for value in promised:
        assert value in said.getvalue().splitlines(), value
    assert "busy background: give a cut-out" in said.getvalue()
