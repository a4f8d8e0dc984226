"""The order of the packages: imports point down the list of docs/architecture.md, and families stay apart."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# From top to bottom. What stands in one row may not import one another.
ORDER = [
    {"train", "sample", "evaluate", "optimize", "view", "app", "check", "__main__"},
    {"commands"},
    {"training", "evaluation", "optimization", "viewing"},
    {"inference"},
    {"config"},
    {"datasets"},
    {"synthesis"},
    {"data"},
    {"meshing"},
    {"interop"},
    {"models"},
    {"diffusion"},
    {"rasterizer"},
    {"geometry"},
    {"checkpoints"},
    {"weights"},
    {"files"},
    {"errors", "version"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
MODULES = sorted((ROOT / "diffgs_jax").rglob("*.py"))
FAMILIES = sorted(path.parent.name for path in (ROOT / "diffgs_jax" / "models").glob("*/family.py"))


def imports(path):
    """Yields the full names of the project's modules that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("diffgs_jax"))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("diffgs_jax"):
            if node.module == "diffgs_jax":
                yield from (f"diffgs_jax.{alias.name}" for alias in node.names)
            else:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(name):
    return name.split(".")[1] if "." in name else ""


def test_the_list_is_complete():
    packages = {path.relative_to(ROOT / "diffgs_jax").parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert packages <= set(RANK), packages - set(RANK)
    assert FAMILIES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "diffgs_jax")))
def test_imports_point_down(path):
    own = path.relative_to(ROOT / "diffgs_jax").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imports(path):
        other = part(name)
        if other in (own, ""):
            continue
        if other in ("load", "render", "Gaussians", "Cameras", "Rendering", "__version__"):
            continue
        assert RANK[other] > RANK[own], f"{own} imports {name}"
        private = [piece for piece in name.split(".")[2:-1] if piece.startswith("_") and not piece.startswith("__")]
        assert not private, f"{own} reaches into {name}"


def test_a_family_is_imported_by_itself_its_configs_its_scripts_and_its_tests():
    places = [*MODULES, *(ROOT / "scripts").rglob("*.py"), *(ROOT / "configs").rglob("*.py")]
    for path in places:
        where = path.relative_to(ROOT)
        for name in imports(path):
            found = re.match(r"diffgs_jax\.models\.(\w+)", name)
            if found is None or found.group(1) not in FAMILIES:
                continue
            one = found.group(1)
            allowed = [
                ("diffgs_jax", "models", one),
                ("configs", one),
                ("scripts", one),
            ]
            is_list = where == pathlib.Path("diffgs_jax/models/family.py")
            assert is_list or any(where.parts[: len(prefix)] == prefix for prefix in allowed), f"{where} imports {name}"


def test_synthesis_is_for_scripts():
    for path in MODULES:
        where = path.relative_to(ROOT / "diffgs_jax")
        if where.parts[0] == "synthesis" or where == pathlib.Path("datasets/objaverse.py"):
            continue
        assert not any(part(name) == "synthesis" for name in imports(path)), f"{where} imports synthesis"
