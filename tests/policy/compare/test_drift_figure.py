import io

from matplotlib.image import imread

from policy.compare.drift_figure import draw_drift
from policy.compare.figure import draw, png
from policy.compare.matched import compare
from policy.compare.records import Operating


def at_each_budget(make_sweep, budgets):
    sweeps = [
        make_sweep("hold", (0.0,), kl=[4.0]),
        make_sweep("threshold", kl=(2.0, 1.0)),
        make_sweep("gumbel", kl=(1.0, 0.5), learned=True),
    ]
    operating = [
        Operating(policy, budget, 0.0, budget)
        for policy in ("threshold", "gumbel")
        for budget in budgets
    ]
    return compare(sweeps, operating, budgets, {})


def test_one_panel_per_budget_with_a_line_per_policy(make_sweep):
    panels = draw_drift(at_each_budget(make_sweep, [0.2, 0.4])).axes

    assert [panel.get_title(loc="left") for panel in panels] == ["budget 0.2", "budget 0.4"]
    for panel in panels:
        assert len(panel.lines) == 3
        assert all(list(line.get_xdata()) == [1, 2, 3] for line in panel.lines)
        assert all(list(line.get_ydata()) == [1, 2, 3] for line in panel.lines)


def test_a_policy_looks_as_in_the_figure_of_the_curves(make_sweep):
    results = at_each_budget(make_sweep, [0.2, 0.4])

    def colour(figure):
        legend = figure.legends[0]
        names = [text.get_text() for text in legend.get_texts()]
        return legend.get_lines()[names.index("gumbel")].get_color()

    assert colour(draw_drift(results)) == colour(draw(results))


def test_many_budgets_take_a_second_row(make_sweep):
    figure = draw_drift(at_each_budget(make_sweep, [0.1, 0.2, 0.25, 0.3, 0.4]))

    assert len(figure.axes) == 5
    rows = {round(panel.get_subplotspec().rowspan.start) for panel in figure.axes}
    assert rows == {0, 1}


def test_without_a_budget_the_reference_alone_is_drawn(make_sweep):
    figure = draw_drift(compare([make_sweep("hold", (0.0,), kl=[4.0])], [], [0.2], {}))

    (panel,) = figure.axes
    assert len(panel.lines) == 1
    assert imread(io.BytesIO(png(figure)))[..., :3].std() > 0.01
