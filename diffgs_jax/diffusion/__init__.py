"""Diffusion and flow matching on any array: schedules, samplers, one sampling loop, guidance, as pure functions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
