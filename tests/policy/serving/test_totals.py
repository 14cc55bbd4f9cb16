import pytest

from policy.milliseconds import Latency
from policy.serving.rows import FrameRow
from policy.serving.totals import Totals


def row(
    frame, spent, ms, restart="", agrees=True, source="a", flush="", checked=None, budget=0.25,
    served_by="gumbel",
):  # fmt: skip
    return FrameRow(
        frame=frame,
        source=source,
        index=frame,
        time=frame / 10,
        restart=restart,
        flush=flush,
        top1=0,
        label="cat",
        probability=0.5,
        spent=spent,
        budget=budget,
        served_by=served_by,
        macs=10 * spent,
        ms=ms,
        preprocess_ms=1.0,
        dense_top1=0,
        dense_label="cat",
        dense_ms=8.0,
        agrees=agrees,
        kl=0.5 if agrees else 1.5,
        checked=checked,
    )


def summary(*rows, **steered):
    totals = Totals()
    for one in rows:
        totals.add(one)
    return totals.summary(
        budget=0.25, knob=1.0, dense_macs=10.0, state_bytes=7, ended="source", **steered
    )


def test_means_and_latencies_are_over_the_frames_that_followed_another():
    seen = summary(
        row(0, 1.0, 100.0, restart="the first frame"),
        row(1, 0.2, 2.0),
        row(2, 0.4, 4.0, agrees=False),
        row(3, 1.0, 90.0, restart="b begins", source="b"),
    )

    assert (seen.frames, seen.later, seen.sources) == (4, 2, 2)
    assert seen.spent == pytest.approx(0.3)
    assert seen.spent_max == 0.4
    assert seen.macs == pytest.approx(3.0)
    assert seen.spent_with_first == pytest.approx(2.6 / 4)
    assert seen.macs_with_first == pytest.approx(26 / 4)
    assert (seen.agreement, seen.kl) == (0.5, 1.0)
    assert seen.ms == Latency(mean=3.0, p50=3.0, p95=pytest.approx(3.9))
    assert seen.dense_ms == Latency(8.0, 8.0, 8.0)


def test_a_run_of_one_frame_has_nothing_to_say_of_later_ones():
    seen = summary(row(0, 1.0, 100.0, restart="the first frame"))

    assert (seen.spent, seen.spent_max, seen.agreement, seen.ms) == (None, None, None, None)
    assert seen.spent_with_first == 1.0


def test_flushes_and_spot_checks_are_counted():
    seen = summary(
        row(0, 1.0, 9.0, restart="the first frame"),
        row(1, 1.0, 9.0, flush="cut"),
        row(2, 0.2, 2.0),
        row(3, 1.0, 9.0, flush="age"),
        row(4, 1.2, 9.0, checked=0.5),
        row(5, 1.2, 9.0, checked=0.1),
    )

    assert (seen.flushes, seen.checks, seen.checked) == (2, 2, pytest.approx(0.3))
    nothing = summary(row(0, 1.0, 9.0, restart="the first frame"), row(1, 0.2, 2.0))
    assert (nothing.flushes, nothing.checks, nothing.checked) == (0, 0, None)


def test_a_run_that_is_steered_by_its_latency_tells_of_budgets_and_of_frames_that_took_longer():
    rows = (
        row(0, 1.0, 99.0, restart="the first frame", budget=0.9),
        row(1, 0.2, 2.0, budget=0.4),
        row(2, 0.3, 4.0, budget=0.3),
        row(3, 0.3, 5.0, budget=0.5),
        row(4, 0.3, 6.0, budget=0.5),
    )
    seen = summary(*rows, hard=True, target_ms=5.0)

    assert (seen.hard, seen.target_ms, seen.over_target) == (True, 5.0, 0.25)
    assert (seen.budget_low, seen.budget_high) == (0.3, 0.5)
    plain = summary(*rows)
    assert (plain.hard, plain.target_ms, plain.over_target) == (False, None, None)
    assert (plain.budget_low, plain.budget_high) == (None, None)


def test_who_served_how_many_frames_is_counted():
    rows = [row(0, 1.0, 5.0, restart="the first frame", served_by="threshold")]
    rows += [row(i, 0.2, 2.0, served_by="threshold" if i > 2 else "gumbel") for i in (1, 2, 3)]

    assert summary(*rows).served_by == {"gumbel": 2, "threshold": 1}
