import numpy as np
import pytest

from policy.serving.overlay import AMBER, STRIP, TRACK, Caption, draw_overlay, enlargement

CAPTION = Caption(label="a", spent=0.5, budget=None, macs=5e8, dense_macs=1e9)


@pytest.fixture
def grey():
    """A picture of 80 x 120 pixels, all of them 100."""
    return np.full((80, 120, 3), 100, np.uint8)


def shares(rows, columns, **marked):
    share = np.zeros((rows, columns))
    for place, value in marked.items():
        row, column = map(int, place.removeprefix("at").split("_"))
        share[row, column] = value
    return share


def test_a_recomputed_patch_is_light_and_amber_where_it_lies_and_the_rest_is_dim(grey):
    picture = draw_overlay(grey, shares(2, 3, at1_2=1.0), min_side=80)

    middles = {(r, c): picture[20 + 40 * r, 20 + 40 * c].tolist() for r in (0, 1) for c in range(3)}
    assert middles.pop((1, 2)) == [125, 112, 84]  # 16 % of the way from grey to amber
    assert set(map(tuple, middles.values())) == {(60, 60, 60)}
    assert tuple(picture[40, 100]) == tuple(picture[60, 119]) == AMBER  # its outline


def test_a_patch_recomputed_in_half_of_the_blocks_is_half_as_light(grey):
    picture = draw_overlay(grey, shares(2, 3, at0_0=0.5), min_side=80)

    assert picture[20, 20].tolist() == [92, 86, 72]  # midway from 60, 60, 60 to 125, 112, 84


def test_nothing_recomputed_leaves_a_dim_frame_without_amber(grey):
    picture = draw_overlay(grey, np.zeros((2, 3)), min_side=80)

    assert np.unique(picture).tolist() == [60]


def test_a_mesh_tells_a_recomputed_area_from_a_hole_in_one(grey):
    picture = draw_overlay(grey, np.ones((2, 3)), min_side=80)

    assert picture[20, 40].tolist() == [162, 130, 60]  # 40 % amber between two patches
    assert picture[20, 60].tolist() == [125, 112, 84]


@pytest.mark.parametrize(
    ("size", "factor"), [((96, 96), 5), ((224, 224), 2), ((448, 800), 1), ((449, 600), 1)]
)
def test_a_small_picture_is_enlarged_by_a_whole_factor(size, factor):
    assert enlargement(size) == factor


def test_an_enlarged_picture_keeps_its_patches_in_place(grey):
    picture = draw_overlay(grey, shares(2, 3, at0_1=1.0), min_side=160)

    assert picture.shape == (160, 240, 3)
    assert picture[40, 120].tolist() == [125, 112, 84]
    assert picture[40, 40].tolist() == [60, 60, 60]


def test_the_caption_is_a_strip_below_and_its_bar_is_filled_by_what_was_spent(grey):
    share = np.zeros((2, 3))
    plain = draw_overlay(grey, share, min_side=80)
    picture = draw_overlay(grey, share, CAPTION, min_side=80)

    assert (picture[:80] == plain).all()
    strip = picture[80:]
    assert tuple(strip[0, 0]) == STRIP
    bar = strip[34]  # a row through it
    filled = (bar == AMBER).all(-1).sum()
    assert filled == 56  # half of 120 pixels less a margin of 4 on both sides
    assert (bar == TRACK).all(-1).sum() == 56


def test_a_budget_is_a_tick_on_the_bar(grey):
    share = np.zeros((2, 3))
    asked = Caption(label="a", spent=0.0, budget=0.25, macs=0.0, dense_macs=1e9)

    bar = draw_overlay(grey, share, asked, min_side=80)[80 + 34]

    tick = 4 + 28  # a quarter of 112 pixels behind the margin
    assert ((bar != TRACK).any(-1) & (bar != STRIP).any(-1)).nonzero()[0].tolist() == [
        tick - 1,
        tick,
        tick + 1,
    ]


def test_a_label_that_is_too_long_is_cut_and_leaves_the_margin_free(grey):
    long = Caption("x" * 99, 0.5, None, 5e8, 1e9, dense="dense: " + "y" * 99)

    picture = draw_overlay(grey, np.zeros((2, 3)), long, min_side=80)

    assert picture.shape[1] == 120
    assert (picture[80:, -3:] == STRIP).all()


def test_sides_are_even_as_video_codecs_want_them():
    picture = draw_overlay(np.zeros((449, 451, 3), np.uint8), np.zeros((3, 3)), CAPTION)

    assert (picture.shape[0] % 2, picture.shape[1]) == (0, 452)


def test_a_share_beyond_1_is_rejected(grey):
    with pytest.raises(ValueError, match=r"shares must be in \[0, 1\], got 0.0 to 2.0"):
        draw_overlay(grey, shares(2, 3, at0_0=2.0))
