import numpy as np
import pytest
import torch

from backbones import load_backbone
from datamodules.errors import RegateError, RegateWarning
from datamodules.video import VideoFrame
from policy.gates import NeverRecompute, ThresholdGate
from policy.serving.latency import LatencyController
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


def test_a_cache_that_overflows_is_not_taken_for_damaged_weights():
    """Scores as before, of keys a hundred thousand times as long and queries as much shorter."""
    backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=32, num_classes=4)
    with torch.no_grad():
        weight = backbone.blocks[0].attn.qkv.weight
        weight[192:384] *= 1e5
        weight[:192] /= 1e5
    for dtype in (None, torch.bfloat16):
        list(serve(frames((32, 32)), ReuseSession(backbone, NeverRecompute(), cache_dtype=dtype)))

    session = ReuseSession(backbone, NeverRecompute(), cache_dtype=torch.float16)
    with pytest.raises(RegateError, match="of a: float16 caches overflow beyond 65,504, so take b"):
        list(serve(frames((32, 32)), session))


def test_a_backbone_without_classifier_is_judged_by_its_features():
    backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=32, num_classes=0)
    session = ReuseSession(backbone, NeverRecompute())

    first, second = (frame_row(s, (), 0) for s in serve(frames((32, 32), (32, 32)), session))

    assert (first.top1, first.agrees, first.kl, first.label) == (None, None, None, "")
    assert first.cosine == pytest.approx(1)
    assert second.cosine < 1


@pytest.fixture
def simulated(monkeypatch):
    """A session that wants every patch, and a clock on which its steps take what they spend."""
    backbone = load_backbone("regate_vit_digits", "random")
    session = ReuseSession(backbone, ThresholdGate(0.0), 1.0, hard=True)
    step, now = session.step, [0.0]

    def taking_time(frame):
        result = step(frame)
        now[0] += (2 + 30 * float(result.spent)) / 1000
        return result

    monkeypatch.setattr(session, "step", taking_time)
    return session, lambda: now[0]


def noise(count):
    generator = np.random.default_rng(0)
    for index in range(count):
        image = generator.integers(0, 256, (96, 96, 3), np.uint8)
        yield VideoFrame(image, index / 10, index, "a" if index < 90 else "b")


def test_the_budget_follows_the_measured_time(simulated):
    session, clock = simulated
    latency = LatencyController(12.0, session.lowest)
    served = list(serve(noise(100), session, False, latency, clock))

    assert [s.restart for s in served if s.restart] == ["the first frame", "b begins"]
    assert served[0].budget == 1.0 and served[90].result.spent == 1, "first frames are dense"
    later = [s for s in served if not s.restart]
    assert all(float(s.result.spent) <= s.budget for s in later)
    assert all(s.ms == pytest.approx(2 + 30 * float(s.result.spent)) for s in later)
    steady = [s.ms for s in later[30:]]
    assert max(steady) <= 12.0 and np.mean(steady) >= 0.9 * 12


def test_a_time_is_refused_to_a_session_that_would_not_keep_to_it(simulated):
    session, clock = simulated
    latency = LatencyController(12.0, session.lowest, ceiling=0.5)
    session.hard = False
    told = (
        r"a latency is kept by a hard budget, and this session has none: make it one by "
        r"session.ask\(0.5, hard=True\)"
    )
    with pytest.raises(RegateError, match=told):
        next(serve(noise(2), session, False, latency, clock))

    session.ask(0.5, hard=True)
    assert next(serve(noise(2), session, False, latency, clock)).result.spent == 1


def test_a_time_that_cannot_be_kept_is_warned_of_once(simulated):
    session, clock = simulated
    latency = LatencyController(1.0, session.lowest)
    told = r"1 ms per frame cannot be kept: at the lowest budget, .*, a frame takes 3\.\d+ ms"
    with pytest.warns(RegateWarning, match=told) as caught:
        served = list(serve(noise(80), session, False, latency, clock))

    assert len(caught) == 1
    assert {s.budget for s in served[2:]} == {session.lowest}
