"""The steps of `scripts/gpu_check.py`, one module each, and what plans and runs them."""
