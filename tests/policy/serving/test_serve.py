import numpy as np
import pytest
import torch

from backbones import load_backbone
from datamodules.errors import RegateError
from datamodules.video import VideoFrame
from policy.gates import NeverRecompute
from policy.serving.rows import frame_row
from policy.serving.serve import serve
from policy.session import ReuseSession


@pytest.fixture
def session():
    backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=32, num_classes=4)
    return ReuseSession(backbone, NeverRecompute())


def frames(*sizes, name="a"):
    for index, size in enumerate(sizes):
        yield VideoFrame(np.full((*size, 3), 20 * index, np.uint8), index / 10, index, name)


def test_a_size_change_begins_a_new_stream_and_says_so(session):
    served = list(serve(frames((40, 40), (40, 40), (40, 60), (40, 60)), session))

    assert [s.restart for s in served] == [
        "the first frame", "", "the size changed from 40x40 to 60x40", "",
    ]  # fmt: skip
    spent = [float(s.result.spent) for s in served]
    assert spent[0] == spent[2] == 1.0
    assert spent[1] == spent[3] < 0.5


def test_a_new_name_begins_a_new_stream(session):
    both = [*frames((40, 40), (40, 40)), *frames((40, 40), name="b")]

    assert [s.restart for s in serve(both, session)] == ["the first frame", "", "b begins"]


def test_dense_is_the_untouched_model_on_the_same_frame(session):
    served = list(serve(frames((32, 32), (32, 32)), session))

    for one in served:
        dense = session.backbone(session.backbone.preprocess(one.frame.image).unsqueeze(0))
        assert torch.equal(one.dense, dense)
        assert one.dense_ms > 0


def test_frames_are_taken_one_at_a_time(session):
    taken = []

    def source():
        for frame in frames(*[(32, 32)] * 3):
            taken.append(frame.index)
            yield frame

    served = serve(source(), session)
    next(served)
    assert taken == [0]


def test_damaged_weights_are_named_with_the_frame(session):
    session.backbone.vit.head.bias[0] = torch.nan

    with pytest.raises(RegateError, match="gave NaN or infinite logits on frame 0 of a: its weig"):
        list(serve(frames((32, 32)), session))


def test_a_backbone_without_classifier_is_judged_by_its_features():
    backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=32, num_classes=0)
    session = ReuseSession(backbone, NeverRecompute())

    first, second = (frame_row(s, (), 0) for s in serve(frames((32, 32), (32, 32)), session))

    assert (first.top1, first.agrees, first.kl, first.label) == (None, None, None, "")
    assert first.cosine == pytest.approx(1)
    assert second.cosine < 1
