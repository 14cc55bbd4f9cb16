import torch

from datamodules.records import Clip, collate


def test_collate_stacks_clips_and_lists_their_names_and_groups():
    clips = [
        Clip(torch.full((2, 3, 4, 4), i, dtype=torch.uint8), torch.tensor([i, -1]), f"n{i}", "g")
        for i in range(3)
    ]

    batch = collate(clips)

    assert batch.frames.shape == (3, 2, 3, 4, 4)
    assert batch.frames.dtype == torch.uint8
    assert batch.frames[:, 0, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.labels.tolist() == [[0, -1], [1, -1], [2, -1]]
    assert batch.names == ["n0", "n1", "n2"]
    assert batch.groups == ["g", "g", "g"]
    assert batch.clean is None
    assert [clip.clean for clip in batch.clips()] == [None] * 3


def test_collate_stacks_the_frames_before_a_disturbance_too():
    def clip(level):
        frames = torch.full((2, 3, 4, 4), level, dtype=torch.uint8)
        return Clip(frames + 1, torch.tensor([0, 0]), "n", "g", clean=frames)

    batch = collate([clip(5), clip(7)])

    assert batch.clean.shape == batch.frames.shape
    assert batch.clean[:, 0, 0, 0, 0].tolist() == [5, 7]
    assert batch.frames[:, 0, 0, 0, 0].tolist() == [6, 8]


def test_a_batch_gives_back_the_clips_that_it_is_made_of():
    frames = torch.arange(4, dtype=torch.uint8).view(2, 1, 1, 2, 1)
    clips = [
        Clip(frames[i], torch.tensor([i]), f"n{i}", f"g{i}", clean=frames[i] + 1) for i in range(2)
    ]

    again = collate(clips).clips()

    for clip, before in zip(again, clips, strict=True):
        assert (clip.name, clip.group) == (before.name, before.group)
        for field in ("frames", "labels", "clean"):
            assert torch.equal(getattr(clip, field), getattr(before, field))
