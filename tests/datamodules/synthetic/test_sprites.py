import numpy as np

from datamodules.synthetic.pictures import digits, regions
from datamodules.synthetic.sprites import HALO, Sprite, digit_sprite, distractor_sprite, paste, path


def test_a_pasted_sprite_covers_its_place_and_nothing_else():
    frame = np.full((6, 6, 3), 100, dtype=np.uint8)
    opaque = Sprite(np.zeros((2, 2, 1), np.uint16), np.full((2, 2, 3), 7, np.uint16))

    paste(frame, opaque, np.array([1, 3]))

    assert (frame[1:3, 3:5] == 7).all()
    assert (frame == 7).sum() == 2 * 2 * 3


def test_a_half_transparent_sprite_mixes():
    frame = np.full((2, 2, 3), 100, dtype=np.uint8)
    half = Sprite(np.full((2, 2, 1), 128, np.uint16), np.full((2, 2, 3), 20, np.uint16))

    paste(frame, half, np.array([0, 0]))

    assert (frame == 70).all()


def test_a_digit_is_light_on_dark_whatever_lies_behind():
    ink = digits("train").images[0]
    sprite = digit_sprite(ink, 32, np.array([255, 255, 255], np.uint16))
    strokes = sprite.add[..., 0] > 250
    edge = (sprite.add[..., 0] == 0) & (sprite.keep[..., 0] < 90)

    assert sprite.keep.shape == (32 + 2 * HALO, 32 + 2 * HALO, 1)
    assert strokes.sum() > 50
    assert edge.sum() > 50  # darkened to about a third
    for level in (0, 128, 255):
        frame = np.full((*sprite.keep.shape[:2], 3), level, dtype=np.uint8)
        paste(frame, sprite, np.array([0, 0]))
        assert frame[strokes].min() >= 250
        assert frame[edge].max() <= 90


def test_no_sprite_overflows_a_byte():
    random = np.random.default_rng(0)
    sprites = [distractor_sprite(random, regions("train")) for _ in range(50)]
    white = np.array([255, 255, 255], np.uint16)
    sprites += [digit_sprite(ink, 36, white) for ink in digits("train").images[:50]]

    for sprite in sprites:
        brightest = (255 * sprite.keep.astype(int) >> 8) + sprite.add
        assert brightest.max() <= 255


def test_a_path_stays_inside_and_moves_at_most_three_pixels_a_frame():
    random = np.random.default_rng(0)
    steps = []
    for _ in range(200):
        corners = path(random, 30, 50)
        assert corners.shape == (30, 2)
        assert corners.min() >= 0
        assert corners.max() <= 50
        steps.append(np.abs(np.diff(corners, axis=0)).max(axis=1))

    assert np.max(steps) <= 4  # three, and one by rounding
    resting = np.mean([np.mean(step == 0) > 0.5 for step in steps])
    assert 0.1 < resting < 0.6


def test_a_path_of_one_frame_is_a_place():
    assert path(np.random.default_rng(0), 1, 50).shape == (1, 2)
