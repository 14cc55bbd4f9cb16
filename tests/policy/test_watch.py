"""What watches a session: cuts, ages, spot checks and caps, over gates of every kind."""

import math

import pytest
import torch

from datamodules.errors import RegateError
from policy.cost import BackboneMacs
from policy.divergence import kl_to_dense
from policy.gates import (
    AlwaysRecompute,
    FrameSkipGate,
    HoldGate,
    LearnedGate,
    Masks,
    NeverRecompute,
    RandomGate,
    ThresholdGate,
)
from policy.guard import Guard
from policy.session import ReuseSession

NEVER_FIRES = Guard(jump=1e9, max_age=10**6, check_every=10**6)
CUTS = Guard(max_age=None)
AGES = Guard(cuts=False, max_age=4)
LOOK = 2 * 48 * 16  # MACs: two norms of width 48 for each of 16 patches


def releasing():
    """A nested gate whose later blocks let most patches go."""
    gate = LearnedGate(48, 3, knob_mean=-1.0).double()
    for release in gate.releases:
        torch.nn.init.constant_(release[-1].bias, -0.8)
    return gate


GATES = {
    "never": NeverRecompute,
    "threshold": lambda: ThresholdGate(0.5),
    "threshold-per-block": lambda: ThresholdGate(1.5, Masks.PER_BLOCK),
    "random-per-block": lambda: RandomGate(0.3, Masks.PER_BLOCK),
    "releasing": releasing,
}
KINDS = [
    (name, execution)
    for name in GATES
    for execution in ("masked", "gathered", "compact")
    if not (name.endswith("per-block") and execution == "compact")
]


@pytest.fixture
def double(backbone):
    return backbone.double()


@pytest.fixture
def scenes(double):
    """Frames of streams that show still pictures under a little noise, [t, s, 3, 64, 64]."""

    def make(length, *cuts, seed=0):
        generator = torch.Generator().manual_seed(seed)
        streams = []
        for cut in cuts:  # one tuple of frame numbers per stream
            frames = []
            for number in range(length):
                if number == 0 or number in cut:
                    picture = torch.randn(3, 64, 64, generator=generator, dtype=torch.float64)
                noise = torch.randn(3, 64, 64, generator=generator, dtype=torch.float64)
                frames.append(picture + 0.02 * noise)
            streams.append(torch.stack(frames))
        return torch.stack(streams, dim=1)

    return make


def assert_same(result, other, streams=slice(None)):
    """Both agree, the second one's given streams with all of the first one's."""
    assert torch.equal(result.recompute, other.recompute[streams])
    assert torch.equal(result.macs, other.macs[streams])
    for ours, theirs in zip(result.guard.tensors(), other.guard.tensors(), strict=True):
        assert torch.allclose(ours, theirs[streams], rtol=0, atol=1e-9, equal_nan=True)
    for field in ("logits", "features", "patches"):
        assert (getattr(result, field) - getattr(other, field)[streams]).abs().max() < 1e-9


@pytest.mark.parametrize(("name", "execution"), KINDS)
def test_a_guard_that_never_fires_changes_nothing_but_its_own_cost(
    double, make_frames, name, execution
):
    gate = GATES[name]()
    guarded = ReuseSession(double, gate, execution=execution, guard=NEVER_FIRES)
    alone = ReuseSession(double, gate, execution=execution)
    for index, frame in enumerate(make_frames(double, 5, streams=2)):
        result, expected = guarded.step(frame), alone.step(frame)

        assert torch.equal(result.logits, expected.logits)
        assert torch.equal(result.recompute, expected.recompute)
        look = LOOK if index else 0  # the first frame has nothing to be compared with
        assert (result.macs - expected.macs).tolist() == [look, look]


@pytest.mark.parametrize(("name", "execution"), KINDS)
def test_a_cut_makes_that_streams_frame_dense_and_no_other(double, scenes, name, execution):
    session = ReuseSession(double, GATES[name](), execution=execution, guard=CUTS)
    for index, frame in enumerate(scenes(8, (3, 6), (), (6,))):
        result = session.step(frame)
        cut = [index in (3, 6), False, index == 6]

        assert result.guard.cut.tolist() == cut
        for stream in torch.tensor(cut).nonzero().flatten():
            assert result.recompute[stream].all()
            assert (result.logits[stream] - double.vit(frame[stream, None])).abs().max() < 1e-9
            assert result.macs[stream] == session.macs.dense + LOOK, "the gate was not asked"
        if index:
            assert not result.recompute[1].all()


def test_without_a_guard_a_cut_is_left_to_the_gate(double, scenes):
    session = ReuseSession(double, NeverRecompute())
    results = [session.step(frame) for frame in scenes(4, (2,))]

    assert not results[2].recompute[..., 1:].any()
    assert not any(result.guard.cut.any() for result in results)


def test_a_camera_that_moves_all_the_time_is_no_cut(double, scenes):
    """Each frame shows something else, so none of them is sudden."""
    session = ReuseSession(double, NeverRecompute(), guard=CUTS)
    cuts = [bool(session.step(frame).guard.cut) for frame in scenes(6, range(6))]

    assert cuts == [False] * 6


def test_a_frame_that_a_camera_repeats_does_not_make_the_next_one_sudden(double, scenes):
    moving = scenes(6, range(6))
    session = ReuseSession(double, NeverRecompute(), guard=CUTS)
    order = (0, 1, 2, 2, 3, 3, 4, 5)
    cuts = [bool(session.step(moving[index]).guard.cut) for index in order]

    assert cuts == [False] * len(order)


def test_a_change_of_a_part_of_the_frame_is_no_cut(double, scenes):
    still, moved = scenes(2, ())
    session = ReuseSession(double, NeverRecompute(), guard=CUTS)
    moved[..., :16, :] += 3  # 4 of 16 patches; a cut takes 5
    cuts = [bool(session.step(frame).guard.cut) for frame in (*[still] * 3, moved)]
    session.reset()
    still[..., 16:32, :32] += 3  # 6 patches
    moved[..., 16:32, :32] -= 3
    cuts += [bool(session.step(frame).guard.cut) for frame in (*[still] * 3, moved)]

    assert cuts == [False] * 7 + [True]


@pytest.mark.parametrize(("name", "execution"), KINDS)
def test_no_patch_grows_older_than_the_bound_in_any_block(double, make_frames, name, execution):
    session = ReuseSession(double, GATES[name](), execution=execution, guard=AGES)
    age, oldest, flushes = torch.zeros(3, 17), 0.0, 0
    for index, frame in enumerate(make_frames(double, 16)):
        result = session.step(frame)
        age = torch.where(result.recompute[0], 0, age + 1)
        oldest = max(oldest, age.max().item())
        if result.guard.aged:
            flushes += 1
            assert (result.logits - double.vit(frame)).abs().max() < 1e-9
            assert result.guard.forced == 16 and result.recompute.all()
        assert result.guard.aged or index == 0 or not result.guard.forced

    assert oldest <= 3 and flushes >= 2
    if name == "never":
        assert (oldest, flushes) == (3, 3)  # frames 4, 8 and 12


@pytest.mark.parametrize(("name", "execution"), [k for k in KINDS if "random" not in k[0]])
def test_no_error_outlives_a_flush(double, make_frames, name, execution):
    """From a flush on a stream is what it would be, had it begun there.

    But for random gates, which draw by the number of the frame.
    """
    frames = make_frames(double, 9)
    guard = Guard(cuts=False, max_age=5)
    session = ReuseSession(double, GATES[name](), execution=execution, guard=guard)
    for frame in frames[:5]:
        session.step(frame)
    fresh = ReuseSession(double, GATES[name](), execution=execution)
    for frame in frames[5:]:
        result, expected = session.step(frame), fresh.step(frame)
        assert torch.equal(result.recompute, expected.recompute)
        assert torch.equal(result.macs, expected.macs)
        assert (result.patches - expected.patches).abs().max() < 1e-9


def test_a_patch_that_a_block_released_goes_on_ageing(double, make_frames):
    """It is admitted on every frame, and yet its last block would stay as old as the stream."""
    gate = releasing()
    gate.knob = -20.0  # admits everything; later blocks let go by their own networks
    for release in gate.releases:
        torch.nn.init.constant_(release[-1].bias, -40.0)
    session = ReuseSession(double, gate, guard=AGES)
    results = [session.step(frame) for frame in make_frames(double, 6)]

    assert all(result.recompute[0, 0].all() for result in results)
    assert not results[3].recompute[0, 1, 1:].any()
    assert [bool(result.guard.aged) for result in results] == [False] * 4 + [True, False]


def test_streams_side_by_side_reach_their_bounds_on_different_frames(double, scenes):
    guard = Guard(cuts=False, max_age=11)
    session = ReuseSession(double, NeverRecompute(), guard=guard)
    aged = torch.stack([session.step(frame).guard.aged for frame in scenes(12, (), (), (), ())])

    first = [int(stream.nonzero()[0]) for stream in aged.unbind(1)]
    assert first[0] == 11 and len(set(first)) == 4
    assert all(6 <= frame <= 11 for frame in first)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize(
    "guard",
    [Guard(max_age=4), Guard(max_age=None, cap=0.6), Guard(max_age=None, check_every=3)],
    ids=["cuts-and-ages", "cap", "checks"],
)
def test_streams_in_lock_step_equal_separate_sessions(double, scenes, name, guard):
    """In every execution; stream 1 is reset half-way, and cuts fall on frames of their own."""
    frames = scenes(10, (3,), (3, 8), ())
    executions = [execution for gate, execution in KINDS if gate == name]
    together = [ReuseSession(double, GATES[name](), None, e, guard=guard) for e in executions]
    apart = [ReuseSession(double, GATES[name](), seed=s, guard=guard) for s in range(3)]
    for index, frame in enumerate(frames):
        if index == 5:
            apart[1].reset()
            for session in together:
                session.reset(1)
        alone = [session.step(frame[stream]) for stream, session in enumerate(apart)]
        for session in together:
            result = session.step(frame)
            for stream, expected in enumerate(alone):
                assert_same(expected, result, slice(stream, stream + 1))


@pytest.mark.parametrize("guard", [Guard(max_age=4, cap=0.7), Guard(max_age=4, check_every=2)])
def test_a_cloned_state_continues_as_the_original_would(double, scenes, guard):
    frames = scenes(9, (4,), (3, 6))
    session = ReuseSession(double, ThresholdGate(0.5), guard=guard)
    for frame in frames[:5]:
        session.step(frame)
    copy = ReuseSession(double, ThresholdGate(0.5), guard=guard)
    copy.state = session.state.clone()
    original = [session.step(frame) for frame in frames[5:]]
    for frame, expected in zip(frames[5:], original, strict=True):
        assert_same(copy.step(frame), expected)


@pytest.mark.parametrize(("name", "execution"), KINDS)
def test_a_flush_under_a_cap_spreads_over_frames_and_completes(double, scenes, name, execution):
    cap = 0.6
    guard = Guard(max_age=None, cap=cap)
    session = ReuseSession(double, GATES[name](), execution=execution, guard=guard)
    frames = scenes(9, (3,))
    frames[3:, ..., 48:, :] *= 4  # the last row of patches moves furthest
    results = [session.step(frame) for frame in frames]
    pending = [int(result.guard.pending) for result in results]
    room = session.macs.room(cap, LOOK)

    assert 4 <= room < 8
    assert pending == [0, 0, 0] + [max(0, 16 - room * flushed) for flushed in range(1, 7)]
    flush = results[3 : 3 + math.ceil(16 / room)]
    for result in flush:
        assert float(result.spent) <= cap
        assert result.recompute[..., 1:].sum() == 3 * result.guard.forced, "the guard alone"
    assert flush[0].recompute[0, :, -4:].all()
    assert torch.stack([result.recompute[0] for result in flush]).any(0).all()


def test_a_flush_of_age_under_a_cap_completes_before_the_next(double, make_frames):
    """Frames of the flush would begin it anew for ever if what still waits counted as aged."""
    guard = Guard(cuts=False, max_age=3, cap=0.5)
    session = ReuseSession(double, NeverRecompute(), guard=guard)
    results = [session.step(frame) for frame in make_frames(double, 12)]

    assert session.macs.room(0.5) == 4
    assert max(float(result.spent) for result in results[1:]) <= 0.5
    assert [index for index, result in enumerate(results) if result.guard.aged] == [3, 7, 11]
    assert [int(result.guard.forced) for result in results[3:11]] == [4] * 8


def test_the_cost_is_that_of_the_masks_the_gate_and_the_guard(double, scenes):
    macs = BackboneMacs.of(double)
    gate = releasing()
    session = ReuseSession(double, gate, guard=Guard(max_age=3))
    flushed = []
    for index, frame in enumerate(scenes(9, (5,))):
        result = session.step(frame)
        expected = macs.frame(result.recompute)
        flushed.append(bool(result.guard.cut | result.guard.aged))
        if index and not flushed[-1]:
            expected += macs.gate(gate, result.recompute)
        assert result.macs.item() == expected.item() + (LOOK if index else 0)
        assert result.spent.item() == result.macs.item() / macs.dense
    assert [index for index, flush in enumerate(flushed) if flush] == [3, 5, 8]


def test_a_spot_check_tells_the_distance_and_goes_on_from_the_dense_frame(double, make_frames):
    frames = make_frames(double, 7, streams=2)
    session = ReuseSession(double, ThresholdGate(2.0), guard=Guard(False, None, check_every=3))
    bare = ReuseSession(double, ThresholdGate(2.0))
    results = [session.step(frame) for frame in frames]
    gated = [bare.step(frame) for frame in frames[:4]]

    assert [bool(result.guard.distance.isnan().all()) for result in results] == [
        *(True, True, True, False),
        *(True, True, False),
    ]
    dense = double.vit(frames[3])
    assert (results[3].logits - dense).abs().max() < 1e-9
    distance = kl_to_dense(dense, gated[3].logits)
    assert results[3].guard.distance.tolist() == pytest.approx(distance.tolist(), rel=1e-5)
    assert results[3].guard.running.tolist() == results[3].guard.distance.tolist()
    same = dense.argmax(-1) == gated[3].logits.argmax(-1)
    assert results[3].guard.agrees.tolist() == same.float().tolist()
    assert results[3].macs.tolist() == (gated[3].macs + session.macs.dense).tolist()

    restarted = ReuseSession(double, ThresholdGate(2.0))
    restarted.step(frames[3])
    assert (restarted.step(frames[4]).logits - results[4].logits).abs().max() < 1e-9
    first, second = results[3].guard.distance, results[6].guard.distance
    expected = (first + 0.1 * (second - first)).tolist()
    assert results[6].guard.running.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_spot_check_of_one_stream_goes_by_its_own_pace(double, make_frames):
    frames = make_frames(double, 9, streams=2)
    guard = Guard(False, None, check_every=3)
    together = ReuseSession(double, NeverRecompute(), guard=guard)
    apart = [ReuseSession(double, NeverRecompute(), seed=s, guard=guard) for s in (0, 1)]
    together.pace = torch.tensor([0.5, 1 / 3])
    apart[0].pace, apart[1].pace = 0.5, 1 / 3
    for index, frame in enumerate(frames):
        if index == 2:  # from here on the streams are checked on frames of their own
            together.reset(1)
            apart[1].reset()
        result = together.step(frame)
        for stream, session in enumerate(apart):
            assert_same(session.step(frame[stream]), result, slice(stream, stream + 1))
    assert together.state.guard.running.isfinite().all()


def test_without_a_classifier_the_distance_is_one_minus_cosine(make_backbone, make_frames):
    backbone = make_backbone(num_classes=0).double()
    frames = make_frames(backbone, 3)
    session = ReuseSession(backbone, NeverRecompute(), guard=Guard(check_every=2))
    bare = ReuseSession(backbone, NeverRecompute())
    for frame in frames:
        report, gated = session.step(frame).guard, bare.step(frame)

    near = torch.cosine_similarity(backbone.vit(frames[2]), gated.features)
    assert report.distance.tolist() == pytest.approx((1 - near).tolist(), rel=1e-5)
    assert report.agrees.isnan().all()


def test_a_gate_that_holds_for_ever_is_woken_by_the_age_bound(double, make_frames):
    session = ReuseSession(double, HoldGate(), guard=AGES)
    frames = make_frames(double, 11, streams=2)
    computed = [session.step(frame).recompute.flatten(1).all(1).tolist() for frame in frames]

    assert [index for index, (first, _) in enumerate(computed) if first] == [0, 4, 8]
    assert [index for index, (_, second) in enumerate(computed) if second] == [0, 3, 6, 9]


def test_a_gate_that_skips_frames_is_checked_and_flushed_on_those_it_computes(double, scenes):
    frames = scenes(10, (5,))
    session = ReuseSession(double, FrameSkipGate(0.5), guard=Guard(check_every=7))
    results = [session.step(frame) for frame in frames]

    assert [bool(result.recompute.all()) for result in results] == [
        *(True, False, True, False, True),
        *(False, True, True, True, False),
    ]
    assert [index for index, result in enumerate(results) if result.guard.cut] == [6]
    # Frame 7 would have repeated frame 6's output at no cost.
    held = kl_to_dense(results[7].logits, results[6].logits)
    assert results[7].guard.distance.tolist() == pytest.approx(held.tolist(), rel=1e-4)
    assert results[7].macs.item() == session.macs.dense + LOOK


def test_half_precision_is_watched_in_single(make_backbone, make_frames):
    frames = make_frames(make_backbone(), 5, streams=2)
    backbone = make_backbone().to(torch.float16)
    session = ReuseSession(backbone, ThresholdGate(0.5), guard=Guard(max_age=2, check_every=3))
    for frame in frames.half():
        result = session.step(frame)

    assert session.state.guard.before.dtype == torch.float32
    assert result.logits.isfinite().all() and result.guard.running.isfinite().all()


def test_what_is_not_watched_takes_no_memory(backbone, make_frames):
    frame = make_frames(backbone, 1)[0]
    held = {}
    for guard in (None, CUTS, AGES, Guard(False, 9, cap=0.9), Guard(False, None, check_every=9)):
        session = ReuseSession(backbone, AlwaysRecompute(), guard=guard)
        session.step(frame)
        held[guard] = session.state.guard.nbytes

    # Embeddings and how they moved; an int32 per patch; what is pending as well; one number.
    assert list(held.values()) == [0, 16 * (48 + 2) * 4, 16 * 4, 2 * 16 * 4, 4]


def test_a_cap_without_room_for_a_patch_names_the_least_that_has(backbone):
    with pytest.raises(RegateError, match=r"a cap of 0\.01 leaves no room") as caught:
        ReuseSession(backbone, ThresholdGate(), guard=Guard(cap=0.01))
    least = float(str(caught.value).split("give ")[1].split(" ")[0])

    ReuseSession(backbone, ThresholdGate(), guard=Guard(cap=least))
    with pytest.raises(RegateError, match="leaves no room"):
        ReuseSession(backbone, ThresholdGate(), guard=Guard(cap=least - 0.002))


def test_a_guard_watches_a_stream_that_another_session_began(double, make_frames):
    """It cannot tell how old a patch is, and takes all to be as old as the dense first frame."""
    frames = make_frames(double, 7, streams=2)
    bare = ReuseSession(double, NeverRecompute())
    for frame in frames[:3]:
        bare.step(frame)
    guard = Guard(cuts=False, max_age=4, check_every=6)
    guarded, whole = (ReuseSession(double, NeverRecompute(), guard=guard) for _ in range(2))
    guarded.state = bare.state.clone()
    expected = [whole.step(frame) for frame in frames][3:]
    results = [guarded.step(frame) for frame in frames[3:]]

    for result, other in zip(results, expected, strict=True):
        assert_same(result, other)
    assert results[1].guard.aged[0] and results[3].guard.distance.isfinite().all()


def test_a_cut_is_seen_on_a_stream_that_another_session_began(double, scenes):
    frames = scenes(8, (6,))
    bare = ReuseSession(double, NeverRecompute())
    for frame in frames[:2]:
        bare.step(frame)
    guarded = ReuseSession(double, NeverRecompute(), guard=CUTS)
    guarded.state = bare.state

    assert [bool(guarded.step(frame).guard.cut) for frame in frames[2:]] == [
        *[False] * 4, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("guard", [None, CUTS, AGES, Guard(False, 9, cap=0.7)])
def test_what_another_guard_watched_is_dropped(double, make_frames, guard):
    frames = make_frames(double, 6, streams=2)
    first = ReuseSession(double, ThresholdGate(0.5), guard=Guard(max_age=4, check_every=2))
    for frame in frames[:2]:
        first.step(frame)
    session = ReuseSession(double, ThresholdGate(0.5), guard=guard)
    whole = ReuseSession(double, ThresholdGate(0.5), guard=guard)
    whole.step(frames[0])
    held = [value.shape for value in whole.state.guard.tensors()]
    session.state = first.state
    session.step(frames[2])
    session.reset(1)
    for frame in frames[3:]:
        session.step(frame)

    assert [value.shape for value in session.state.guard.tensors()] == held
