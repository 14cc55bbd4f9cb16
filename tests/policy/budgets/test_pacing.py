"""Which share of the frames to look at, measured per budget."""

import numpy as np
import pytest
import torch

from datamodules.records import Clip
from policy.budgets.pacing import PACES, with_paces
from policy.budgets.search import calibrate, spent_per_clip
from policy.budgets.table import Calibration
from policy.gates import ThresholdGate
from policy.gates.learned import LearnedGate
from policy.quality import dense_clip, sweep_clip

ASKED = (0.1, 0.2, 0.35)


def as_clips(frames, clean=None):
    """Unlabelled clips of some frames."""
    clean = clean or [None] * len(frames)
    return [
        Clip(shown, torch.full((len(shown),), -1), str(index), "", before)
        for index, (shown, before) in enumerate(zip(frames, clean, strict=True))
    ]


@pytest.fixture(scope="module")
def tables(digits, digit_clips):
    plain = calibrate(digits, ThresholdGate(), digit_clips, ASKED)
    return plain, with_paces(digits, ThresholdGate(), as_clips(digit_clips), plain)


def mean_kl(backbone, clips, knob, pace):
    found = []
    for clip in clips:
        frames = backbone.normalize(clip)
        swept = sweep_clip(
            backbone,
            ThresholdGate(),
            frames,
            dense_clip(backbone, frames),
            torch.tensor([knob]),
            paces=pace,
        )
        found.append(float(swept.metrics["kl"]))
    return np.mean(found)


def test_budgets_are_met_at_the_chosen_pace(tables, digits, digit_clips):
    _, paced = tables
    for budget in ASKED:
        knob, pace = paced.knob(budget), paced.pace(budget)
        spent = spent_per_clip(digits, ThresholdGate(), digit_clips, np.array([knob]), pace=pace)
        assert spent.mean() == pytest.approx(budget, rel=0.06)


def test_no_budget_gets_worse_than_at_every_frame(tables, digits, digit_clips):
    plain, paced = tables
    for budget in ASKED:
        ours = mean_kl(digits, digit_clips, paced.knob(budget), paced.pace(budget))
        theirs = mean_kl(digits, digit_clips, plain.knob(budget), 1.0)
        assert ours <= theirs * 1.05


def test_it_reaches_below_the_floor_of_every_frame(tables):
    plain, paced = tables
    assert paced.lowest < plain.lowest
    assert paced.floor < plain.floor
    assert set(paced.paces) <= set(PACES)
    assert list(paced.paces) == sorted(paced.paces)
    assert paced.knob(1.0) == plain.knob(1.0) and paced.pace(1.0) == 1.0


def test_still_videos_need_no_second_look(digits, digit_clips):
    still = [clip[:1].expand(6, -1, -1, -1) for clip in digit_clips[:2]]
    moving = digit_clips[:2]
    plain = calibrate(digits, ThresholdGate(), moving, ASKED)
    # A change in the middle, and nothing after it: skipping frames can only find it later.
    jump = [torch.cat([a[:3], b[3:]]) for a, b in zip(still, still[::-1], strict=True)]
    paced = with_paces(digits, ThresholdGate(), as_clips(jump), plain)
    assert paced.pace(0.9) == 1.0


def test_disturbed_clips_are_held_against_what_was_there_before(tables, digits, digit_clips):
    """What moves is all disturbance: frames that are not looked at are closer to the truth."""
    still = [clip[:1].expand(len(clip), -1, -1, -1) for clip in digit_clips]
    plain, followed = tables
    paced = with_paces(digits, ThresholdGate(), as_clips(digit_clips, still), plain)
    assert followed.pace(0.2) == 1.0
    assert paced.pace(0.2) < 1.0


def test_a_gain_within_its_own_error_is_not_taken(digits, digit_clips):
    """One clip of four, held against a still one, is by far better off with frames skipped."""
    still = [clip[:1].expand(len(clip), -1, -1, -1) for clip in digit_clips]
    clean = [None, still[1], None, None]
    plain = calibrate(digits, ThresholdGate(), digit_clips, ASKED)

    clips = as_clips(digit_clips, clean)
    alone = with_paces(digits, ThresholdGate(), clips[1:2], plain)
    all_four = with_paces(digits, ThresholdGate(), clips, plain)

    assert alone.pace(0.2) < 1.0
    assert all_four.pace(0.2) == 1.0


def test_a_gate_whose_own_cost_lifts_it_over_the_dense_frame(digits):
    generator = torch.Generator().manual_seed(0)  # frames of which every patch changes
    clips = [torch.randint(256, (4, 3, 96, 96), generator=generator).byte() for _ in range(2)]
    gate = LearnedGate(digits.dim, digits.depth)
    plain = calibrate(digits, gate, clips, ASKED)
    paced = with_paces(digits, gate, as_clips(clips), plain)
    assert plain.spent[-1] > 1
    assert paced.spent[-1] == plain.spent[-1] and paced.paces[-1] == 1.0


def test_a_table_keeps_its_paces_in_a_file(tables):
    _, paced = tables
    assert Calibration.from_json(paced.to_json()) == paced


def test_tables_from_before_look_at_every_frame():
    value = {"spent": [0.2, 0.5], "knobs": [1.0, 0.0], "floor": 0.1, "source": ""}
    assert Calibration.from_json(value).pace(0.3) == 1.0


@pytest.mark.parametrize("pace", [1 / 2, 1 / 3])
def test_a_pace_spends_on_short_clips_what_it_spends_in_a_long_stream(digits, digit_clips, pace):
    """Five later frames have one turn of three, or two; which it is depends on the clip."""
    gate, still = ThresholdGate(), [clip[:1] for clip in digit_clips]
    knob = np.array([-9.0])  # everything that moved at all; nothing does, so looks cost the same
    short = [clip.expand(6, -1, -1, -1) for clip in still * 6]
    long = [still[0].expand(61, -1, -1, -1)]

    share = [
        float(spent_per_clip(digits, gate, its, knob, pace=pace).mean()) for its in (short, long)
    ]

    whole = float(spent_per_clip(digits, gate, long, knob).mean())
    assert share[0] == pytest.approx(pace * whole, rel=0.05)
    assert share[1] == pytest.approx(pace * whole, rel=0.02)


def test_a_budget_that_only_a_pace_reaches_is_met(digits, digit_clips):
    plain = calibrate(digits, ThresholdGate(), digit_clips, ASKED)
    asked = 0.8 * plain.floor
    paced = with_paces(digits, ThresholdGate(), as_clips(digit_clips), plain, [asked])

    knob, pace = np.array([paced.knob(asked)]), paced.pace(asked)
    spent = spent_per_clip(digits, ThresholdGate(), digit_clips, knob, pace=pace).mean()
    assert spent == pytest.approx(asked, rel=0.06)
