from policy.compare.figure_style import looks
from policy.compare.results import PlotCurve


def curve(policy, learned=True):
    return PlotCurve(policy, learned, (), (), {}, (), {})


def test_each_learned_policy_has_a_colour_and_its_paced_line_is_dashed():
    names = ["gumbel", "ppo-paced", "gumbel-paced", "ppo", "reinforce"]

    found = looks([curve(name) for name in names])

    assert len({found[name].color for name in ("gumbel", "ppo", "reinforce")}) == 3
    for name in ("gumbel", "ppo"):
        paced = found[f"{name}-paced"]
        assert paced.color == found[name].color
        assert (paced.dashed, found[name].dashed) == (True, False)


def test_a_paced_policy_alone_is_a_plain_line():
    assert not looks([curve("gumbel-paced"), curve("threshold", learned=False)])[
        "gumbel-paced"
    ].dashed
