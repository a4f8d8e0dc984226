import numpy as np
import pytest
from PIL import Image

from diffgs_jax import evaluation
from diffgs_jax.evaluation.curves import COLOURS, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (11.7, 13.1, [11.5, 12, 12.5, 13, 13.5]),
        (-3.0, 46.0, [-10, 0, 10, 20, 30, 40, 50]),
    ],
)
def test_ticks_are_round_and_enclose(low, high, expected):
    np.testing.assert_allclose(ticks(low, high), expected)


@pytest.mark.parametrize("value", [0.0, 7.0, -0.25])
def test_ticks_of_a_single_value_enclose_it(value):
    found = ticks(value, value)
    assert len(found) > 1 and found[0] <= value <= found[-1]


def test_lines_are_where_their_values_are(tmp_path):
    rising = evaluation.Plot("rising", "x", {"one": ([1, 10, 100], [0.0, 0.5, 1.0])}, logarithmic=True)
    nothing = evaluation.Plot("nothing", "x", {"two": ([1.0], [float("nan")])})
    evaluation.draw_plots(tmp_path / "curves.png", [rising, nothing])
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - COLOURS[0]).sum(-1) < 30)
    in_plot = rows < 220  # the legend is below
    slope = np.polyfit(columns[in_plot], rows[in_plot], 1)
    # Even in the logarithm, and up on the page is a smaller row.
    assert slope[0] == pytest.approx(-(280 - 30 - 58) / (380 - 58 - 14 - 20), rel=0.05)
    residual = rows[in_plot] - np.polyval(slope, columns[in_plot])
    assert np.abs(residual).max() < 8
