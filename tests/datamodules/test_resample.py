from fractions import Fraction

import pytest

from datamodules.resample import Timed, resample


def shown(times, rate, start=0, last=None):
    """Numbers of the pictures on screen at each tick."""
    last = last if last is not None else times[1] - times[0]
    pictures = [Timed(None, Fraction(t), Fraction(last), i) for i, t in enumerate(times)]
    return [(tick, timed.index) for tick, timed in resample(pictures, Fraction(rate), start)]


def even(frames, rate):
    return [Fraction(i, rate) for i in range(frames)]


def test_the_same_rate_changes_nothing():
    assert shown(even(5, 30), 30) == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]


def test_half_the_rate_takes_every_other_picture():
    assert shown(even(6, 30), 15) == [(0, 0), (1, 2), (2, 4)]


def test_twice_the_rate_shows_each_picture_twice():
    assert shown(even(3, 10), 20) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]


def test_uneven_pictures_are_held_until_the_next():
    times = [0, Fraction("0.1"), Fraction("0.4"), Fraction("0.5")]

    assert shown(times, 10) == [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2), (5, 3)]


def test_time_stamps_rounded_to_milliseconds_choose_the_same_pictures():
    rounded = [Fraction(round(1000 * i / 30), 1000) for i in range(30)]

    assert shown(rounded, 15) == [(i, 2 * i) for i in range(15)]


def test_a_single_picture_lasts_its_duration():
    assert shown([0], 10, last=Fraction("0.3")) == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize("start", [1, 4, 9])
def test_starting_later_leaves_out_the_ticks_before(start):
    everything = shown(even(20, 30), 15)

    assert shown(even(20, 30), 15, start) == everything[start:]


def test_no_picture_gives_no_tick():
    assert list(resample([], Fraction(10))) == []
