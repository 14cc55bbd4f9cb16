import numpy as np
import pytest
import torch

from datamodules.camera import Camera
from datamodules.errors import RegateError

STILL = {"flip": 0.0, "zoom": 1.0, "moving": 0.0}


def scene(height=48, width=80):
    """Each pixel says where it is: red across, green down."""
    across = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([across, down, np.zeros_like(down)], -1).astype(np.uint8)


def film(seed=0, count=6, size=(24, 24), images=None, **settings):
    images = [scene()] * count if images is None else images
    return Camera(**settings).film(images, size, np.random.default_rng(seed))


def sides(frame):
    """Left and right end of what a frame shows, as shares of the scene."""
    return frame[0, 12, 0].item() / 255, frame[0, 12, -1].item() / 255


def test_a_still_window_shows_the_same_on_every_frame():
    shown = film(**STILL)

    assert (shown.shape, shown.dtype) == ((6, 3, 24, 24), torch.uint8)
    assert (shown == shown[0]).all()
    left, right = sides(shown[0])
    assert right - left == pytest.approx(48 / 80, abs=0.04)  # a square as high as the scene


def test_a_window_lies_at_another_place_in_each_clip():
    lefts = [sides(film(seed, **STILL)[0])[0] for seed in range(30)]

    assert min(lefts) < 0.05
    assert max(lefts) > 0.3


def test_a_mirrored_clip_is_mirrored_on_every_frame():
    shown = film(**STILL | {"flip": 1.0})

    plain = film(**STILL)
    assert torch.equal(shown, plain.flip(-1))


def test_a_smaller_window_shows_less_of_the_scene():
    spans = [film(seed, **STILL | {"zoom": 0.5})[0, 1, [0, -1], 12].tolist() for seed in range(40)]
    shares = [(bottom - top) / 255 for top, bottom in spans]

    assert min(shares) == pytest.approx(0.5, abs=0.06)
    assert max(shares) > 0.9


def test_a_window_that_pans_moves_by_the_same_step():
    settings = STILL | {"moving": 1.0, "zoom": 0.5, "pan": 3.0, "shake": 0.0}
    steps = np.array(
        [np.diff([sides(frame)[0] for frame in film(seed, **settings)]) for seed in range(20)]
    )

    assert np.abs(steps[:, 0]).mean() > 0.005
    bends = np.abs(np.diff(steps)).max(1)
    assert np.median(bends) < 0.01  # a grey level is 0.004; few windows come to an edge


def test_a_window_never_leaves_the_scene():
    settings = STILL | {"moving": 1.0, "zoom": 0.6, "pan": 40.0, "shake": 20.0}
    for seed in range(10):
        ends = [sides(frame) for frame in film(seed, count=12, **settings)]
        spans = [right - left for left, right in ends]
        assert min(left for left, _ in ends) >= 0
        # Past the edge PIL would repeat the last column, and the window would show less.
        assert spans == pytest.approx([spans[0]] * 12, abs=0.03)


def test_a_shaken_window_that_has_no_room_stands_still():
    square = [scene(48, 48)] * 4

    shown = film(images=square, **STILL | {"moving": 1.0, "shake": 5.0})

    assert (shown == shown[0]).all()


def test_the_share_of_clips_that_move_is_the_asked_one():
    moved = [
        bool((shown != shown[0]).any())
        for shown in (film(seed, **STILL | {"moving": 0.25, "zoom": 0.7}) for seed in range(200))
    ]

    assert np.mean(moved) == pytest.approx(0.25, abs=0.09)


def test_the_same_state_gives_the_same_film():
    settings = {"moving": 1.0, "pan": 2.0, "shake": 1.0}

    assert torch.equal(film(4, **settings), film(4, **settings))
    assert not torch.equal(film(4, **settings), film(5, **settings))


def test_frames_that_change_their_size_show_the_same_window():
    shown = film(images=[scene(48, 80), scene(96, 160)], **STILL | {"zoom": 0.6})

    assert (shown[0].int() - shown[1].int()).abs().max() < 8


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"flip": 1.5}, "flip is a share of the clips, 0 to 1; got 1.5."),
        ({"moving": -0.1}, "moving is a share of the clips, 0 to 1; got -0.1."),
        ({"zoom": 0.0}, "zoom must be above 0 and at most 1, got 0."),
        ({"pan": -1.0}, "pan must be 0 or more, got -1."),
        ({"shake": -1.0}, "shake must be 0 or more, got -1."),
    ],
)
def test_values_outside_their_range_are_refused(settings, told):
    with pytest.raises(RegateError) as refused:
        Camera(**settings)

    assert str(refused.value) == told
