"""What the sampling command does beside sampling: its options, its pictures, its files, and the record of all that."""

from diffgs_jax.sampling.folders import filled_folder
from diffgs_jax.sampling.jobs import Job, find_jobs
from diffgs_jax.sampling.options import Options
from diffgs_jax.sampling.outputs import write_outputs
from diffgs_jax.sampling.record import make_record, read_options, refuse_others

__all__ = [
    "Job",
    "Options",
    "filled_folder",
    "find_jobs",
    "make_record",
    "read_options",
    "refuse_others",
    "write_outputs",
]
