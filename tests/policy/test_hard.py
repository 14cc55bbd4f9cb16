"""Hard budgets: no frame after a stream's first spends more, whatever the gate, mask or guard."""

from dataclasses import replace

import pytest
import torch

from datamodules.errors import RegateError
from policy.budgets.table import Calibration, Fallback, Verdict
from policy.cost import BackboneMacs
from policy.gates import CosineGate, LearnedGate, Masks, ThresholdGate, TopRGate
from policy.gates.base import Carry, Decision, Gate
from policy.gates.heuristic import KeptThreshold
from policy.gates.selective import SelectiveGate
from policy.gates.steered import SteeredGate
from policy.guard import Guard
from policy.hard import highest, scored_policies
from policy.policies import HEURISTICS, LEARNED, build_gate
from policy.relax import Relaxation
from policy.rl.actor_critic import Actor
from policy.session import ReuseSession
from policy.signals import uniform_noise


def learned(releases=True, bias=-0.5):
    torch.manual_seed(0)
    gate = LearnedGate(48, 3, releases=releases)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for release in gate.releases:
            release[-1].bias += bias
    gate.knob = -3.0
    return gate


def selective():
    torch.manual_seed(0)
    gate = SelectiveGate()
    gate.actor = Actor(gate.observation_size, gate.action_size, hidden=8)
    return gate


class RefreshingActor(torch.nn.Module):
    """Asks for every patch of every frame."""

    def __init__(self, actions):
        super().__init__()
        self.actions = actions

    def forward(self, observation):
        return torch.ones(len(observation), self.actions)


def refreshing(groups):
    return SteeredGate(groups, depth=3, actor=RefreshingActor(groups + 1))


GATES = {
    "threshold": lambda: ThresholdGate(0.5),
    "threshold-per-block": lambda: ThresholdGate(0.5, Masks.PER_BLOCK),
    "kept threshold": KeptThreshold,
    "top-r": lambda: TopRGate(0.9),
    "top-r-per-block": lambda: TopRGate(0.9, Masks.PER_BLOCK),
    "cosine": lambda: CosineGate(1e-3),
    "cosine-per-block": lambda: CosineGate(1e-3, Masks.PER_BLOCK),
    "learned": learned,
    "learned, shared": lambda: learned(releases=False),
    "selective": selective,
    "steered": lambda: refreshing(1),
    "steered-per-block": lambda: refreshing(3),
}
GUARDS = {
    "no guard": None,
    "guard": Guard(max_age=5),
    "guard with a cap": Guard(max_age=5, cap=0.5),
}


class Lottery(Gate):
    """Every patch wants to be recomputed, in an order of its own in each block."""

    gives_score = True

    def decide(self, view):
        state, count = view.state, view.tokens.shape[1]
        noise = uniform_noise(state.seed, state.frame, view.block, count)
        return Decision(torch.ones_like(noise, dtype=torch.bool), noise)


def executions(gate):
    masks = gate.masks
    return ("masked", "gathered") if masks is Masks.PER_BLOCK else ("masked", "gathered", "compact")


@pytest.fixture
def double(backbone):
    return backbone.double()


@pytest.fixture(scope="module")
def busy(make_backbone, make_frames):
    """Eleven frames of two streams, with a cut in the second one."""
    frames = make_frames(make_backbone(), 11, streams=2)
    frames[5:, 1] = make_frames(make_backbone(), 6, seed=1)[:, 0]
    return frames


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", GATES)
def test_no_later_frame_spends_more(backbone, busy, name, guard):
    gate = GATES[name]()
    session = ReuseSession(backbone, gate, 0.9, guard=GUARDS[guard], hard=True)
    lowest, binds = session.lowest, 0
    for budget in (lowest, *torch.linspace(lowest, 1.0, 4).tolist()[1:]):
        session.reset()
        session.budget = budget
        results = [session.step(frame) for frame in busy]
        spent = torch.stack([result.spent for result in results])

        assert (spent[0] == 1).all(), "a stream's first frame is dense"
        assert spent[1:].max() <= budget, "to the last digit"
        room = session.macs.room(budget, 0.0, gate)
        most = max(int(result.recompute[:, 0, 1:].sum(1).max()) for result in results[1:])
        binds += room - most <= 1
    assert binds >= 2, "the gate wants more than fits, or the test shows little"


@pytest.mark.parametrize("name", GATES)
def test_executions_agree(double, make_frames, name):
    """With streams that want much and little, a reset half-way, and a flush."""
    frames = make_frames(double, 9, streams=3)
    gate = GATES[name]()
    if name != "selective":  # observations are in single precision
        gate.double()
    guard = Guard(cuts=False, max_age=6)
    outcomes = {}
    for execution in executions(gate):
        session = ReuseSession(double, gate, 0.5, execution, guard=guard, hard=True)
        if not name.startswith("top-r"):
            session.knob = session.knob + torch.tensor([0.0, 1.5, 3.0], dtype=torch.float64)
        results = []
        for index, frame in enumerate(frames):
            if index == 4:
                session.reset(1)
            results.append(session.step(frame))
        outcomes[execution] = results
    masked = outcomes.pop("masked")
    assert any(bool(result.guard.pending.any()) for result in masked)
    for other in outcomes.values():
        for ours, theirs in zip(other, masked, strict=True):
            assert torch.equal(ours.recompute, theirs.recompute)
            assert torch.equal(ours.spent, theirs.spent)
            assert torch.equal(ours.guard.pending, theirs.guard.pending)
            for field in ("logits", "features", "patches"):
                assert (getattr(ours, field) - getattr(theirs, field)).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["threshold", "kept threshold", "learned", "cosine"])
def test_of_what_the_gate_wants_the_highest_scores_are_kept(double, make_frames, name):
    gate = GATES[name]().double()
    free = ReuseSession(double, gate)
    hard = ReuseSession(double, gate, 0.4, hard=True)
    first, second = make_frames(double, 2)
    for session in (free, hard):
        session.step(first)
    wanted, kept = free.step(second), hard.step(second)
    room = hard.macs.room(0.4, 0.0, gate)
    ours, theirs = kept.recompute[0, 0, 1:], wanted.recompute[0, 0, 1:]

    assert room == ours.sum() < theirs.sum()
    order = wanted.score[0].argsort(descending=True)
    assert ours[order[:room]].all() and not ours[order[room:]].any()


def test_a_quiet_frame_spends_less_and_just_as_without(double, make_frames):
    """What fits is not touched, so that a budget which never binds changes nothing."""
    frames = make_frames(double, 5)
    free = ReuseSession(double, ThresholdGate(20.0))
    hard = ReuseSession(double, ThresholdGate(20.0), 0.95, hard=True)
    for frame in frames:
        result, expected = hard.step(frame), free.step(frame)

        assert torch.equal(result.recompute, expected.recompute)
        assert torch.equal(result.logits, expected.logits)
    assert float(result.spent) < 0.9


def test_each_block_has_its_own_highest_scores(double, make_frames):
    gate = Lottery(Masks.PER_BLOCK)
    session = ReuseSession(double, gate, 0.5, hard=True)
    for frame in make_frames(double, 2):
        result = session.step(frame)

    counts = result.recompute[0, :, 1:].sum(1)
    assert counts.tolist() == 3 * [session.macs.room(0.5, 0.0, gate)]
    assert not torch.equal(result.recompute[0, 0], result.recompute[0, 1])


def test_equal_scores_go_to_the_first_patches_and_each_stream_has_a_number_of_its_own():
    score = torch.tensor([[1.0, 3.0, 1.0, 1.0, 5.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    wanted = torch.tensor([[True, True, True, True, False], [False, True, True, True, True]])
    carry = Carry(score, score.unsqueeze(2), score, wanted)
    decision = highest(Decision(wanted, score, carry), torch.tensor([2, 3]))

    expected = [[True, True, False, False, False], [False, True, True, True, False]]
    assert decision.recompute.tolist() == expected
    assert decision.carry.decision.tolist() == expected, "later blocks start from what is kept"
    untouched = Decision(wanted, score, carry)
    assert highest(untouched, torch.tensor([4, 4])) is untouched


@pytest.mark.parametrize("name", ["threshold", "threshold-per-block", "learned", "steered"])
def test_the_number_of_patches_is_the_largest_that_fits(backbone, name):
    """In closed form; here by trying each number of patches."""
    gate, macs = GATES[name](), BackboneMacs.of(backbone)
    beside = 1536.0

    def spent(patches):
        mask = torch.zeros(1, 3, 17, dtype=torch.bool)
        mask[..., : 1 + patches] = True
        return float(macs.frame(mask) + macs.gate(gate, mask) + beside) / macs.dense

    every = [spent(patches) for patches in range(17)]
    for cap in [*every, *(each * (1 - 1e-15) for each in every), 0.1, 0.3, 0.5, 0.77, 1.0]:
        fits = [patches for patches in range(17) if every[patches] <= cap]
        assert max(fits, default=-1) == max(macs.room(cap, beside, gate), -1)
    assert macs.least_cap(beside, gate) == every[1]


def test_a_flush_is_spread_within_the_budget_and_completes(double, make_frames):
    still = make_frames(double, 1)[0]
    other = make_frames(double, 1, seed=1)[0]
    session = ReuseSession(double, ThresholdGate(0.5), 0.5, guard=Guard(max_age=None), hard=True)
    results = [session.step(frame) for frame in [*4 * [still], *7 * [other]]]

    assert [bool(result.guard.cut) for result in results] == [False] * 4 + [True] + [False] * 6
    room = session.macs.room(0.5, 2 * 48 * 16)
    pending = [int(result.guard.pending) for result in results[4:]]
    assert pending == [max(0, 16 - room * flushed) for flushed in range(1, 8)]
    assert max(float(result.spent) for result in results[1:]) <= 0.5
    assert torch.stack([result.recompute[0] for result in results[4:8]]).any(0).all()


def test_it_can_be_set_and_lifted_in_mid_stream(double, make_frames):
    """A flush that has begun under it ends with the frame on which it is lifted."""
    still, other = (make_frames(double, 1, streams=2, seed=seed)[0] for seed in (0, 1))
    session = ReuseSession(double, ThresholdGate(0.5), guard=Guard(max_age=None))
    for _ in range(4):
        session.step(still)
    with pytest.raises(RegateError, match="a hard session needs a budget to keep to: give one in"):
        session.hard = True
    assert not session.hard

    hard = ReuseSession(double, ThresholdGate(0.5), 0.5, guard=Guard(max_age=None), hard=True)
    hard.state = session.state
    hard.reset(1)
    begun = hard.step(other)
    assert begun.spent[0] <= 0.5 and begun.guard.pending[0] > 0 and begun.spent[1] == 1
    hard.gate.calibration = Calibration((0.2, 0.9), (1.0, 0.0), floor=0.1)
    hard.hard = False
    ended = hard.step(other)
    assert ended.guard.pending[0] == 0
    hard.reset(0)
    assert hard.step(other).spent[0] == 1


def test_the_knob_is_the_calibrated_one_and_every_frame_is_looked_at(backbone):
    gate = ThresholdGate()
    gate.calibration = Calibration((0.4, 0.9), (2.0, 1.0), floor=0.1, paces=(0.5, 1.0))
    session = ReuseSession(backbone, gate, 0.8, hard=True)

    # At its point of 0.4 it spends 0.8 on every second frame.
    assert (session.knob, session.pace) == (2.0, 1.0)
    session.budget = 0.85
    assert 1 < session.knob < 2
    session.budget = session.lowest  # under the calibrated ones
    assert session.lowest < 0.4 and session.knob == 2.0
    with pytest.raises(RegateError, match="under this gate's floor"):
        session.hard = False  # which the mean does not reach
    session.budget = 0.4
    session.hard = False
    assert (session.pace, session.hard) == (0.5, False)


def test_without_calibration_the_knob_that_was_set_stays(backbone):
    session = ReuseSession(backbone, ThresholdGate(2.0), 0.4, hard=True)
    session.knob = 0.25
    session.budget = 0.5

    assert (session.knob, session.budget, session.pace) == (0.25, 0.5, 1.0)


def test_without_calibration_it_can_be_entered_and_left_in_mid_stream(double, make_frames):
    """Neither half means anything alone, so both are set together."""
    first, second, third = make_frames(double, 3)
    session = ReuseSession(double, ThresholdGate(0.25))
    session.step(first)
    with pytest.raises(RegateError, match=r"bound each frame by session.ask\(0.4, hard=True\)$"):
        session.budget = 0.4
    session.ask(0.4, hard=True)
    assert (session.budget, session.hard) == (0.4, True)
    assert session.step(second).spent <= 0.4
    with pytest.raises(RegateError, match=r"hard=False, as session.ask\(None\) does$"):
        session.budget = None
    assert (session.budget, session.hard) == (0.4, True), "as before"

    session.knob = 9.0
    session.hard = False
    assert (session.budget, session.hard, session.knob) == (None, False, session.gate.knob)
    assert session.step(third).spent > 0.4
    session.ask(0.4, hard=True)
    session.ask(None)
    assert (session.budget, session.hard) == (None, False)


def test_a_state_from_a_hard_session_goes_on_in_another(double, make_frames):
    """It has columns for a capped flush, which a session that has never had a cap keeps too."""
    still, other = (make_frames(double, 1, streams=2, seed=seed)[0] for seed in (0, 1))
    hard = ReuseSession(double, ThresholdGate(0.5), 0.5, guard=Guard(max_age=None), hard=True)
    for frame in (*4 * [still], other):
        begun = hard.step(frame)
    assert begun.guard.pending[0] > 0
    soft = ReuseSession(double, ThresholdGate(0.5), guard=Guard(max_age=None))
    soft.state = hard.state
    soft.reset(0)
    result = soft.step(other)

    assert result.spent[0] == 1 and result.guard.pending.tolist() == [0, 0]
    assert result.guard.forced[1] == begun.guard.pending[1]


def test_the_floor_is_that_of_whoever_serves_the_lowest_budgets(backbone):
    gate = learned()
    theirs = Calibration((0.5, 0.8), (1.0, 0.0), floor=0.1)
    verdicts = (Verdict(0.5, None, None), Verdict(0.8, -0.1, (-0.2, -0.1)))
    gate.calibration = replace(theirs, fallback=Fallback(theirs, verdicts, clips=30, groups=30))
    session = ReuseSession(backbone, gate, 0.5, hard=True)

    assert session.serving is gate.heuristic
    assert session.lowest == session.macs.least_cap(0.0, gate.heuristic)
    assert session.lowest < session.macs.least_cap(0.0, gate)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_where_the_dearer_gate_serves_between_the_two_floors_the_lowest_is_its_own(
    backbone, make_frames, share
):
    """The gate is found better at one point there, and at none of those beside it."""
    gate = learned()
    macs = BackboneMacs.of(backbone)
    cheap, dear = macs.least_cap(0.0, gate.heuristic), macs.least_cap(0.0, gate)
    assert cheap < dear
    point = cheap + share * (dear - cheap)
    spent = (0.5 * cheap, point, 0.9)
    theirs = Calibration(spent, (2.0, 1.0, 0.0), floor=0.01)
    verdicts = tuple(Verdict(budget, -0.1, None) for budget in spent)
    better = replace(verdicts[1], interval=(-0.2, -0.1))
    fallback = Fallback(theirs, (verdicts[0], better, verdicts[2]), clips=30, groups=30)
    gate.calibration = replace(theirs, fallback=fallback)
    session = ReuseSession(backbone, gate, 0.9, hard=True)

    assert session.lowest == dear
    session.budget = session.lowest
    for frame in make_frames(backbone, 3):
        result = session.step(frame)
    assert result.spent <= session.lowest
    with pytest.raises(RegateError, match="leaves no room for a patch") as caught:
        session.budget = 0.999 * cheap if share == 1 else point
    session.budget = float(str(caught.value).split("ask for ")[1].split(" ")[0])


@pytest.mark.parametrize("guard", [None, Guard()])
def test_under_the_floor_the_sentence_names_it_and_the_least_that_can_be_asked(backbone, guard):
    session = ReuseSession(backbone, ThresholdGate(), 0.5, guard=guard, hard=True)
    look = 2 * 48 * 16 / session.macs.dense if guard else 0.0
    floor = session.macs.floor(session.gate) + look
    expected = rf"a hard budget of 0.05 leaves no room for a patch beside the floor of {floor:.4g} "
    with pytest.raises(RegateError, match=expected) as caught:
        session.budget = 0.05

    assert (session.budget, session.hard) == (0.5, True), "as before"
    least = float(str(caught.value).split("ask for ")[1].split(" ")[0])
    session.budget = least
    with pytest.raises(RegateError, match="no room for a patch"):
        session.budget = least - 2e-4


@pytest.mark.parametrize("name", sorted(set(HEURISTICS) - set(scored_policies())))
def test_gates_without_a_score_are_refused_and_those_with_one_named(backbone, name):
    covered = "threshold, threshold-per-block, threshold-paced, top-r, top-r-per-block, cosine, "
    expected = (
        f"a hard budget keeps the patches of highest score, and the {name} gate gives none: "
        f"choose one of {covered}cosine-per-block, gumbel, ppo, reinforce"
    )
    with pytest.raises(RegateError, match=expected):
        ReuseSession(backbone, build_gate(name), 0.5, hard=True)


@pytest.mark.parametrize("name", scored_policies())
def test_what_is_covered_really_gives_a_score(backbone, make_frames, name):
    gate = learned() if name in LEARNED else build_gate(name)
    session = ReuseSession(backbone, gate, 0.5, hard=True)
    for frame in make_frames(backbone, 2):
        result = session.step(frame)

    assert result.score is not None


def test_what_cannot_keep_a_hard_budget_is_refused(backbone):
    with pytest.raises(RegateError, match="spot check runs the dense model, which a hard budget"):
        ReuseSession(backbone, ThresholdGate(), 0.5, guard=Guard(check_every=5), hard=True)
    with pytest.raises(RegateError, match=r"budget must be in \(0, 1\]"):
        ReuseSession(backbone, ThresholdGate(), 1.5, hard=True)
    with pytest.raises(ValueError, match="relaxed decisions, which are for training, keep no hard"):
        ReuseSession(backbone, learned(), 0.5, "masked", Relaxation(1.0), hard=True)
