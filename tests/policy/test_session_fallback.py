"""Budgets at which a learned gate's session serves the threshold."""

import pytest
import torch

from policy.budgets.table import Calibration, Fallback, Verdict
from policy.gates import SteeredGate, ThresholdGate
from policy.gates.heuristic import KeptThreshold
from policy.gates.learned import LearnedGate
from policy.quality import dense_clip, sweep_settings
from policy.session import ReuseSession

BELOW, ABOVE = 0.2, 0.6
"""The budgets that the threshold and the gate serve."""


@pytest.fixture
def gate(double):
    """Learned, with weights that matter, and a table that falls back at the lower budget."""
    torch.manual_seed(0)
    gate = LearnedGate(double.dim, double.depth).double()
    for name, parameter in gate.named_parameters():
        if name.startswith(("admit.2", "releases")):
            torch.nn.init.normal_(parameter, std=0.3)
    verdicts = (Verdict(BELOW, 0.1, (-0.1, 0.2)), Verdict(ABOVE, -0.1, (-0.2, -0.05)))
    theirs = Calibration((BELOW, ABOVE), (0.7, 0.2), floor=0.1, paces=(1.0, 1.0))
    gate.calibration = Calibration(
        (BELOW, ABOVE), (0.6, 0.1), floor=0.1, fallback=Fallback(theirs, verdicts, 8, 4)
    )
    return gate.requires_grad_(False)


@pytest.fixture
def double(backbone):
    return backbone.double()


def run(session, frames, budgets):
    results = []
    for frame, budget in zip(frames, budgets, strict=True):
        session.budget = budget
        results.append(session.step(frame))
    return results


def test_there_it_is_the_threshold_at_its_own_knob_and_macs(double, gate, make_frames):
    frames = make_frames(double, 5)
    threshold = ReuseSession(double, ThresholdGate())
    threshold.knob = 0.7
    session = ReuseSession(double, gate, budget=BELOW)
    assert session.serving.name == "threshold" and session.gate is gate

    for frame in frames:
        ours, theirs = session.step(frame), threshold.step(frame)
        assert torch.equal(ours.recompute, theirs.recompute)
        assert torch.allclose(ours.logits, theirs.logits, atol=1e-9)
        assert ours.macs.item() == theirs.macs.item()

    assert 0 < ours.recompute[0, 0, 1:].sum() < 16


def test_at_the_other_budgets_it_is_the_gate(double, gate, make_frames):
    alone = ReuseSession(double, gate)
    alone.knob = 0.1
    session = ReuseSession(double, gate, budget=ABOVE)
    for frame in make_frames(double, 4):
        ours, theirs = session.step(frame), alone.step(frame)
        assert torch.equal(ours.recompute, theirs.recompute)
        assert ours.macs.item() == theirs.macs.item()
    session.budget = BELOW
    session.budget = None
    assert session.serving is gate and session.knob == gate.knob


@pytest.mark.parametrize("execution", ["gathered", "masked"])
def test_both_take_turns_in_mid_stream_over_one_state(double, gate, make_frames, execution):
    frames = make_frames(double, 8)
    budgets = [ABOVE, ABOVE, BELOW, BELOW, ABOVE, BELOW, ABOVE, BELOW]
    compact = run(ReuseSession(double, gate), frames, budgets)
    other = run(ReuseSession(double, gate, execution=execution), frames, budgets)

    for ours, theirs in zip(compact, other, strict=True):
        assert torch.equal(ours.recompute, theirs.recompute)
        assert torch.allclose(ours.logits, theirs.logits, atol=1e-9)
        assert ours.macs.item() == pytest.approx(theirs.macs.item())
    released = [bool((r.recompute[0, 0] > r.recompute[0, -1]).any()) for r in compact]
    assert not any(released[2:4]) and not released[5]
    assert any(released)


def test_a_sweep_runs_each_gate_at_its_own_settings(double, gate, make_frames):
    frames = make_frames(double, 4)[:, 0]
    dense = dense_clip(double, frames)
    settings = [gate.setting(budget) for budget in (ABOVE, BELOW, ABOVE)]

    swept = sweep_settings(double, settings, frames, dense)

    for column, budget in enumerate((ABOVE, BELOW, ABOVE)):
        results = run(ReuseSession(double, gate), frames, [budget] * 4)
        spent = [result.spent.item() for result in results]
        assert swept.spent[:, column].tolist() == pytest.approx(spent)
        logits = torch.cat([result.logits for result in results])
        assert torch.allclose(swept.logits[:, column], logits, atol=1e-9)
    first, other, again = swept.metrics["kl"].tolist()
    assert first == pytest.approx(again) != pytest.approx(other)


def test_a_gate_without_networks_has_nothing_to_fall_back_to():
    assert ThresholdGate().heuristic is None
    assert isinstance(LearnedGate(8, 2).heuristic, KeptThreshold)
    assert not LearnedGate(8, 2).heuristic.state_dict()


def test_a_steered_gate_falls_back_to_the_threshold_that_it_steers(double, make_frames):
    gate = SteeredGate().double()
    gate.steer(torch.ones(1, gate.action_size).double())
    table = Calibration((0.2,), (0.7,), floor=0.1)
    judged = Fallback(table, (Verdict(0.2, None, None),), 1, 1)
    gate.calibration = Calibration((0.2,), (0.5,), floor=0.1, fallback=judged)
    session, threshold = (
        ReuseSession(double, gate, budget=0.2),
        ReuseSession(double, ThresholdGate()),
    )
    threshold.knob = 0.7
    for frame in make_frames(double, 4):
        ours, theirs = session.step(frame), threshold.step(frame)
        assert torch.equal(ours.recompute, theirs.recompute)
        assert ours.macs.item() == theirs.macs.item()
