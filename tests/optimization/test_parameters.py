import jax
import jax.numpy as jnp
import numpy as np
import pytest
from known import known_splat

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.optimization import from_gaussians, to_gaussians, used_gaussians


def test_gaussians_come_back():
    splat = known_splat()
    parameters, is_used = from_gaussians(splat, capacity=20, sh_degree=2)
    assert is_used.sum() == 12 and parameters.sh_rest.shape == (20, 8, 3)
    back = used_gaussians(parameters, is_used)
    for field, leaf in zip(Gaussians._fields, splat, strict=True):
        got = getattr(back, field)[:, :1] if field == "sh" else getattr(back, field)
        np.testing.assert_allclose(got, leaf, rtol=1e-5, atol=1e-6)
    assert not np.asarray(back.sh[:, 1:]).any()
    every = to_gaussians(parameters, is_used)
    assert not np.asarray(every.opacities[12:]).any()


def test_harmonics_above_the_degree_count_as_zero_and_have_no_gradient():
    parameters, is_used = from_gaussians(known_splat(), capacity=12, sh_degree=3)
    parameters = parameters._replace(sh_rest=jnp.ones_like(parameters.sh_rest))
    for degree, kept in enumerate((0, 3, 8, 15)):
        got = np.asarray(to_gaussians(parameters, is_used, degree).sh[0, 1:, 0])
        np.testing.assert_array_equal(got, np.arange(15) < kept)

    def total(rest):
        return jnp.sum(to_gaussians(parameters._replace(sh_rest=rest), is_used, 1).sh)

    gradient = jax.grad(total)(parameters.sh_rest)
    np.testing.assert_array_equal(np.asarray(gradient[0, :, 0]), np.arange(15) < 3)


def test_what_cannot_be_parameters_is_refused():
    splat = known_splat()
    with pytest.raises(UserError, match="12 Gaussians, more than --capacity 8"):
        from_gaussians(splat, capacity=8, sh_degree=0)
    broken = splat.means.copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="x.ply cannot be used: 1 values of its means are not finite"):
        from_gaussians(splat._replace(means=broken), capacity=12, sh_degree=0, name="x.ply")
    with pytest.raises(DataError, match="no Gaussians"):
        from_gaussians(Gaussians(*(leaf[:0] for leaf in splat)), capacity=12, sh_degree=0)
