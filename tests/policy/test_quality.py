"""Every metric on outputs small enough to count."""

import math

import pytest
import torch

from datamodules.records import Clip
from policy.gates import RandomGate, ThresholdGate
from policy.gates.learned import LearnedGate
from policy.quality import (
    DenseClip,
    dense_clip,
    dense_reference,
    over_frames,
    quality,
    sweep_clip,
)
from policy.session import ReuseSession


def one_hot(*classes, count=3):
    """Logits that are sure of one class per frame, [t, count]."""
    return 20.0 * torch.nn.functional.one_hot(torch.tensor(classes), count).float()


def measure(dense, gated, labels=None, features=None, near=None):
    """Metrics of one knob from logits [t, k], with features and patches equal unless given."""
    frames = len(dense)
    same = torch.ones(frames, 2)
    clip = DenseClip(dense, same, torch.ones(frames, 4, 2))
    features = same if features is None else features
    near = torch.ones(frames - 1, 4) if near is None else near
    found = quality(clip, gated.unsqueeze(1), features.unsqueeze(1), near.unsqueeze(1), labels)
    assert all(value.shape == (1,) for value in found.values())
    return {name: value.item() for name, value in found.items()}


def test_equal_outputs_are_perfect():
    logits = torch.randn(4, 7)

    assert measure(logits, logits) == pytest.approx(
        {
            "kl": 0, "agreement": 1, "agreement_top5": 1, "cosine": 1, "cosine_worst5": 1,
            "cosine_pooled": 1, "excess_flips": 0,
        },
        abs=1e-6,
    )  # fmt: skip


def test_the_first_frame_is_dense_for_all_and_not_counted():
    dense, gated = one_hot(0, 1, 1), one_hot(2, 1, 1)

    found = measure(dense, gated)

    assert found["kl"] == pytest.approx(0, abs=1e-6)
    assert found["agreement"] == 1


def test_agreement_is_the_share_of_frames_with_the_same_top_class():
    assert measure(one_hot(0, 0, 1, 2, 1), one_hot(0, 0, 1, 2, 2))["agreement"] == 0.75


def test_top5_agreement_asks_for_the_dense_class_among_five():
    dense = one_hot(0, 6, 6, count=7)
    gated = torch.arange(7.0).flip(0).repeat(3, 1)  # ranks the classes 0 to 6
    gated[1, 6] = 2.5  # fifth
    assert gated[2].argsort(descending=True).tolist().index(6) == 6

    found = measure(dense, gated)

    assert (found["agreement"], found["agreement_top5"]) == (0, 0.5)


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_among_five_classes_or_fewer_top5_always_agrees(classes):
    dense, gated = torch.randn(3, classes), torch.randn(3, classes)

    assert measure(dense, gated)["agreement_top5"] == 1


def test_accuracy_counts_labelled_frames_only():
    gated = one_hot(0, 1, 2, 2, 0)
    labels = torch.tensor([0, 1, -1, 0, -1])  # right, unlabelled, wrong, unlabelled

    assert measure(gated, gated, labels)["accuracy"] == 0.5


def test_a_clip_without_any_label_has_no_accuracy():
    gated = one_hot(0, 1, 2)

    assert math.isnan(measure(gated, gated, torch.full((3,), -1))["accuracy"])
    assert "accuracy" not in measure(gated, gated)


def test_a_flickering_output_flips_in_excess():
    still, flickering = one_hot(0, 0, 0, 0, 0), one_hot(0, 1, 0, 1, 1)

    assert measure(still, flickering)["excess_flips"] == 0.75
    assert measure(flickering, still)["excess_flips"] == -0.75
    assert measure(flickering, flickering)["excess_flips"] == 0


def test_worst_cosine_is_the_mean_of_the_worst_twentieth():
    near = torch.ones(10, 4)  # 40 pairs, of which two count
    near[3, 1], near[7, 2], near[8, 0] = 0.0, 0.5, 0.9
    logits = one_hot(*[0] * 11)

    found = measure(logits, logits, near=near)

    assert found["cosine_worst5"] == pytest.approx(0.25)
    assert found["cosine"] == pytest.approx(1 - 1.6 / 40)


def test_of_few_pairs_the_single_worst_counts():
    logits = one_hot(0, 0)

    assert measure(logits, logits, near=torch.tensor([[1.0, 0.2, 1, 1]]))["cosine_worst5"] == (
        pytest.approx(0.2)
    )


def test_pooled_cosine_is_of_the_features():
    logits = one_hot(0, 0, 0)
    features = torch.tensor([[1.0, 1], [3, 3], [1, -1]])  # dense ones are all (1, 1)

    assert measure(logits, logits, features=features)["cosine_pooled"] == pytest.approx(0.5)


def test_over_frames_gives_kl_and_agreement_of_each_later_frame():
    dense = DenseClip(one_hot(0, 1, 1, 2), torch.ones(4, 2), torch.ones(4, 4, 2))

    found = over_frames(dense, one_hot(2, 1, 0, 2).unsqueeze(1))

    assert found["agreement"].tolist() == [[1], [0], [1]]
    assert found["kl"][:, 0].tolist() == pytest.approx([0, 20, 0], abs=1e-3)


def test_dense_clip_is_the_untouched_model(backbone, make_frames):
    frames = make_frames(backbone, 3)[:, 0]

    assert torch.allclose(dense_clip(backbone, frames).logits, backbone(frames), atol=1e-5)


def test_the_reference_of_a_disturbed_clip_is_dense_on_what_was_there_before(backbone):
    frames = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    clip = Clip(frames, torch.tensor([-1, -1]), "n", "g")
    disturbed = clip._replace(frames=frames // 2, clean=frames)

    logits = dense_reference(backbone, disturbed).logits

    assert torch.equal(logits, dense_reference(backbone, clip).logits)
    assert torch.equal(logits, dense_clip(backbone, backbone.normalize(frames)).logits)


def learned(backbone):
    gate = LearnedGate(backbone.dim, backbone.depth)
    with torch.no_grad():
        for name, parameter in gate.named_parameters():
            if name.startswith(("admit.2", "releases")):
                parameter.normal_(std=0.3)
    return gate


GATES = {
    "threshold": (lambda backbone: ThresholdGate(), (0.1, 0.7, 2.5)),
    "random": (lambda backbone: RandomGate(), (0.9, 0.5, 0.2)),
    "gumbel": (learned, (0.1, 0.7, 2.5)),
}


@pytest.mark.parametrize("name", GATES)
def test_a_sweep_equals_sessions_driven_by_hand(name, make_backbone, make_frames):
    backbone = make_backbone().double()
    make, knobs = GATES[name]
    gate = make(backbone).double()
    frames = make_frames(backbone, 4)[:, 0]
    dense = dense_clip(backbone, frames)

    swept = sweep_clip(backbone, gate, frames, dense, torch.tensor(knobs), seed=5)

    for index, knob in enumerate(knobs):
        session = ReuseSession(backbone, gate, seed=5 + index)
        session.knob = torch.tensor([knob])
        results = [session.step(frame) for frame in frames]
        logits = torch.cat([result.logits for result in results])
        assert swept.spent[:, index].tolist() == [result.spent.item() for result in results]
        assert torch.allclose(swept.logits[:, index], logits, atol=1e-9)
        agreement = (logits[1:].argmax(-1) == dense.logits[1:].argmax(-1)).double().mean()
        assert swept.metrics["agreement"][index].item() == pytest.approx(agreement.item())
        kl = [
            (p.softmax(-1) * (p.log_softmax(-1) - q.log_softmax(-1))).sum().item()
            for p, q in zip(dense.logits[1:], logits[1:], strict=True)
        ]
        assert swept.metrics["kl"][index].item() == pytest.approx(sum(kl) / 3, rel=1e-6)
        assert swept.over_frames["kl"][:, index].tolist() == pytest.approx(kl, rel=1e-6)
        near = torch.cosine_similarity(
            torch.cat([result.patches for result in results[1:]]), dense.patches[1:], dim=-1
        )
        assert swept.metrics["cosine"][index].item() == pytest.approx(near.mean().item())
        assert swept.state_bytes == session.state_bytes
    assert len({tuple(column) for column in swept.spent.T.tolist()}) == 3
