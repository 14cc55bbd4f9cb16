"""The lowest budget that keeps a limit on failing videos."""

import json

import numpy as np
import pytest
import torch

from backbones import load_backbone
from datamodules.errors import RegateError
from datamodules.records import Clip
from datamodules.synthetic import SyntheticClips
from policy.budgets.risk import Risk, RiskLimit
from policy.budgets.risk_control import disagreement, lowest_budget, one_per_group, videos_needed
from policy.budgets.table import Calibration
from policy.gates import ThresholdGate
from policy.session import ReuseSession

BUDGETS = (0.2, 0.3, 0.5, 1.0)
LIMIT = RiskLimit(risk=0.05, confidence=0.95, tolerance=0.1)


def videos(count, *failures):
    """Disagreement of so many videos, of which so many fail at each budget, [n, k]."""
    shares = np.zeros((count, len(failures)))
    for column, failed in enumerate(failures):
        shares[:failed, column] = 0.3
    return shares


@pytest.mark.parametrize(
    ("risk", "confidence", "needed"),
    [(0.05, 0.95, 59), (0.1, 0.95, 29), (0.05, 0.9, 45), (0.5, 0.75, 2), (0.01, 0.95, 299)],
)
def test_so_many_videos_without_a_failure_are_needed(risk, confidence, needed):
    limit = RiskLimit(risk, confidence)
    assert videos_needed(limit) == needed
    assert lowest_budget(videos(needed, 0), [1.0], limit).budget == 1.0
    assert lowest_budget(videos(needed - 1, 0), [1.0], limit).budget is None


def test_the_lowest_budget_in_a_row_of_passes_is_chosen():
    risk = lowest_budget(videos(59, 1, 0, 0, 0), BUDGETS, LIMIT)

    assert (risk.budget, risk.videos) == (0.3, 59)
    assert [(step.budget, step.failures) for step in risk.tested] == [
        (1.0, 0), (0.5, 0), (0.3, 0), (0.2, 1)
    ]  # fmt: skip
    assert risk.tested[0].p == pytest.approx(0.95**59)
    assert risk.tested[3].p == pytest.approx(0.95**59 + 59 * 0.05 * 0.95**58)


def test_nothing_below_a_budget_that_does_not_pass_is_looked_at():
    risk = lowest_budget(videos(59, 0, 0, 2, 0), BUDGETS, LIMIT)
    assert risk.budget == 1.0
    assert [step.budget for step in risk.tested] == [1.0, 0.5]


@pytest.mark.parametrize(("count", "failures"), [(59, 0), (93, 1), (124, 2), (153, 3)])
def test_more_videos_forgive_failures(count, failures):
    """The sample sizes of exact binomial bounds at 95 % and 5 %."""
    assert lowest_budget(videos(count, failures), [0.5], LIMIT).budget == 0.5
    assert lowest_budget(videos(count - 1, failures), [0.5], LIMIT).budget is None


def test_a_video_fails_above_the_tolerance_and_not_at_it():
    at, above = np.full((59, 1), 0.1), np.full((59, 1), 0.1 + 1e-9)
    assert lowest_budget(at, [0.5], LIMIT).tested[0].failures == 0
    assert lowest_budget(above, [0.5], LIMIT).tested[0].failures == 59


def test_a_budget_that_breaks_the_limit_passes_less_often_than_is_promised():
    """Truth: 12 %, 10.1 %, 6 % and 1 % of all videos fail; at most 10 % may."""
    limit = RiskLimit(risk=0.1, confidence=0.9, tolerance=0.1)
    rates = np.array([0.12, 0.101, 0.06, 0.01])
    rng = np.random.default_rng(0)
    chosen = [
        # A video that is hard at one budget is so at the lower ones.
        lowest_budget((rng.random((120, 1)) < rates).astype(float), BUDGETS, limit).budget
        for _ in range(2000)
    ]

    wrong = np.mean([budget in (0.2, 0.3) for budget in chosen])
    assert 0.01 < wrong < 0.1
    assert np.mean([budget is not None for budget in chosen]) > 0.95
    assert np.mean([budget == 0.5 for budget in chosen]) > 0.3


def test_one_video_is_drawn_of_each_group_that_is_left():
    groups = ["a", "b", "a", "c", "b", "d"]
    places = one_per_group(groups, apart={"c"})
    assert sorted(groups[place] for place in places) == ["a", "b", "d"]
    assert places == sorted(places) == one_per_group(groups, apart={"c"})


def test_disagreement_is_that_of_sessions_driven_by_hand():
    backbone = load_backbone("regate_vit_digits")
    gate = ThresholdGate()
    gate.calibration = Calibration((0.2, 0.6), (0.8, 0.2), floor=0.1, paces=(0.5, 1.0))
    scenes = SyntheticClips(num_frames=1, test_clips=12).dataset("test")
    shown = [torch.cat([scenes[i].frames for i in range(start, 12, 2)]) for start in (0, 1)]
    clips = [Clip(frames, torch.full((6,), -1), "", "") for frames in shown]
    told = []

    settings = [gate.setting(budget) for budget in (0.2, 0.6)]
    shares = disagreement(backbone, settings, clips, lambda: told.append(1))

    assert shares.shape == (2, 2) and len(told) == 2
    for row, clip in zip(shares, clips, strict=True):
        for share, budget in zip(row, (0.2, 0.6), strict=True):
            session = ReuseSession(backbone, gate, budget)
            shown = backbone.normalize(clip.frames)
            ours = [session.step(frame).logits.argmax().item() for frame in shown]
            theirs = backbone(shown).argmax(-1).tolist()
            differ = [a != b for a, b in zip(ours, theirs, strict=True)][1:]
            assert share == sum(differ) / 5
    assert shares.max() > 0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"risk": 1.0}, "risk must be between 0 and 1, got 1"),
        ({"risk": 0.1, "confidence": 0.0}, "confidence must be between 0 and 1, got 0"),
        ({"risk": 0.1, "tolerance": 1.0}, r"tolerance must be in \[0, 1\), a share of a video's"),
    ],
)
def test_a_limit_out_of_its_range_is_told(values, told):
    with pytest.raises(RegateError, match=told):
        RiskLimit(**values)


def test_the_result_is_told_in_one_line_and_survives_json():
    risk = lowest_budget(videos(93, 9, 1, 0, 0), BUDGETS, LIMIT)
    assert risk.told() == (
        "risk: budget 0.3 is the lowest at which at most 0.05 of videos like these differ from "
        "dense in top-1 on more than 0.1 of their frames (confidence 0.95): 1 of 93 did"
    )
    assert Risk.from_json(json.loads(json.dumps(risk.to_json()))) == risk
    table = Calibration((0.3,), (1.0,), floor=0.1, risk=risk)
    assert Calibration.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert lowest_budget(videos(59, 3), [0.5], LIMIT).told() == (
        "risk: no budget can be shown to keep it so that at most 0.05 of videos like these differ "
        "from dense in top-1 on more than 0.1 of their frames (confidence 0.95): at 0.5 3 of 59 did"
    )
