"""docs/first_splat.ipynb: its cells are Python, carry no outputs, and run one after the other."""

import ast
import json
import pathlib
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOK = json.loads((ROOT / "docs" / "first_splat.ipynb").read_text())
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_cells_are_python_without_outputs():
    assert len(CELLS) == 5
    for cell in CELLS:
        ast.parse(cell)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in NOTEBOOK["cells"])


@pytest.mark.long
def test_cells_run_in_order(tmp_path, monkeypatch):
    pytest.importorskip("viser", reason='the last cell needs pip install "diffgs_jax[view]"')
    shown = types.SimpleNamespace(Image=lambda filename: pathlib.Path(filename).read_bytes(), HTML=str)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in CELLS:
        *others, last = ast.parse(cell).body
        exec(compile(ast.Module(others, []), "cell", "exec"), names)
        names["shown"] = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    assert "<iframe" in names["shown"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("sofa.webp", "sofa.ply", "sofa.spz"))
