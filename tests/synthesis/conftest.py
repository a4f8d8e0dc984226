import pathlib
import sys

# Where GLB files are made by hand (gltf_files.py).
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "meshing"))
