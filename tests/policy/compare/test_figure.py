import io

import numpy as np
from matplotlib.image import imread

from policy.compare.figure import draw, png
from policy.compare.matched import compare


def drawn(panel, colour):
    return next(line for line in panel.lines if line.get_color() == colour)


def test_one_panel_for_kl_agreement_and_accuracy(comparison):
    panels = draw(comparison).axes

    assert [panel.get_title(loc="left").split(" (")[0] for panel in panels] == [
        "KL to dense",
        "agreement",
        "accuracy",
    ]
    assert all(panel.get_xscale() == "log" for panel in panels)


def test_no_labels_no_accuracy_panel(make_sweep):
    results = compare([make_sweep(kl=(2.0, 1.0), agreement=(0.5, 0.7))], [], [0.2], {})

    assert len(draw(results).axes) == 2


def test_the_learned_curve_runs_through_its_measured_points(comparison):
    line = drawn(draw(comparison).axes[0], "#d1263f")

    assert np.allclose(line.get_xydata(), [(0.1, 2.5), (0.4, 1.25)])


def test_only_the_learned_policy_and_the_best_heuristic_have_bands(comparison):
    assert len(draw(comparison).axes[0].collections) == 2


def test_each_budget_is_a_vertical_line_and_a_tick(comparison):
    panel = draw(comparison).axes[0]

    upright = [line.get_xdata()[0] for line in panel.lines if set(line.get_ydata()) == {0, 1}]
    assert {0.2, 0.4} <= set(upright)
    assert list(panel.get_xticks()) == [0.2, 0.4, 1.0]


def test_the_legend_names_every_policy_learned_first(comparison):
    names = [entry.get_text() for entry in draw(comparison).legends[0].get_texts()]

    assert names[0] == "gumbel"
    assert set(names) == {"gumbel", "threshold", "frame-skip", "dense", "hold (0 MACs)"}


def test_the_png_is_an_image_with_ink(comparison):
    pixels = imread(io.BytesIO(png(draw(comparison))))

    assert pixels.shape[1] > pixels.shape[0] > 300
    assert pixels[..., :3].std() > 0.01


def test_a_comparison_without_knobs_still_draws(make_sweep):
    results = compare([make_sweep("dense", (1.0,), kl=[0.0], agreement=[1.0])], [], [0.2], {})

    assert len(png(draw(results))) > 1000
