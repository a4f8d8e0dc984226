"""Files written whole or not at all."""

from diffgs_jax.files.atomic import written_beside
from diffgs_jax.files.folders import filled_folder

__all__ = ["filled_folder", "written_beside"]
