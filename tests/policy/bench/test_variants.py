"""What is timed: each variant computes exactly the tokens that its row names."""

import pytest
import torch

from policy.bench.variants import Dense, GateAlone, Learned, variants


def by_name(backbone, fraction, first):
    return {its.name: its for its in variants(backbone, [fraction], first)}


def patches_computed(its, frames):
    """Of each frame and stream, per block, [t, s, l]."""
    counts = []
    for shown in frames:
        its.prepare(shown)
        prefix = its.session.backbone.num_prefix_tokens
        counts.append(its.step(shown).recompute[..., prefix:].sum(-1))
    return torch.stack(counts)


def test_the_dense_model_comes_first_and_each_fraction_has_its_four(backbone, frames):
    found = [(its.name, its.fraction) for its in variants(backbone, [0.5, 0.1], frames[0, :1])]
    four = ("shared", "per block", "gate alone", "learned")
    assert found == [
        ("dense", None),
        ("dense packed", None),
        ("everything", None),
        *((name, fraction) for fraction in (0.5, 0.1) for name in four),
    ]


@pytest.mark.parametrize("name", ["shared", "per block"])
def test_sessions_compute_the_share_exactly_in_the_mean(name, backbone, frames):
    counts = patches_computed(by_name(backbone, 0.25, frames[0])[name], frames[1:5])
    patches = backbone.num_tokens - backbone.num_prefix_tokens
    assert (counts.float().mean(0) == 0.25 * patches).all()


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 1.0])
def test_an_untrained_learned_gate_computes_the_share_on_every_frame(fraction, backbone, frames):
    counts = patches_computed(Learned(fraction, backbone, frames[0]), frames[1:4])
    patches = backbone.num_tokens - backbone.num_prefix_tokens
    assert (counts == round(fraction * patches)).all()


def test_everything_equals_the_dense_model_and_counts_as_much(backbone, frames):
    found = by_name(backbone, 0.5, frames[0])
    everything, dense = found["everything"], found["dense"]
    logits = everything.step(frames[1]).logits
    torch.testing.assert_close(logits, dense.step(frames[1]), atol=1e-4, rtol=0)
    assert everything.macs() == dense.macs() == Dense(backbone).macs()


def test_the_packed_dense_model_computes_what_the_dense_one_does(backbone, frames):
    found = by_name(backbone, 0.5, frames[0])
    packed, dense = found["dense packed"], found["dense"]
    torch.testing.assert_close(packed.step(frames[1]), dense.step(frames[1]), atol=1e-4, rtol=0)
    assert packed.macs() == dense.macs()


def test_ragged_streams_give_one_by_one_what_they_give_together(backbone, frames):
    found = by_name(backbone, 0.25, frames[0])
    together, apart = found["ragged"], found["one by one"]
    for shown in frames[1:4]:
        result, results = together.step(shown), apart.step(shown)
        counts = result.recompute[:, 0].sum(1)

        assert counts[0] < counts[1]
        for stream, alone in enumerate(results):
            assert torch.equal(result.recompute[stream], alone.recompute[0])
            torch.testing.assert_close(result.logits[stream], alone.logits[0], atol=1e-4, rtol=0)
        assert apart.macs() == pytest.approx(together.macs())


def test_sessions_cache_in_the_dtype_asked_for(backbone, frames):
    found = variants(backbone, [0.25], frames[0], torch.bfloat16)
    sessions = [its.session for its in found if hasattr(its, "session")]
    assert len(sessions) == 5
    assert {session.state.caches.keys[0].dtype for session in sessions} == {torch.bfloat16}


def test_a_gate_alone_decides_as_its_session_does_and_leaves_it_as_it_was(backbone, frames):
    learned = Learned(0.25, backbone, frames[0])
    learned.prepare(frames[1])
    learned.step(frames[1])
    before = [tensor.clone() for tensor in learned.session.state.tensors()]

    alone = GateAlone(learned)
    alone.prepare(frames[2])
    mask = alone.step(frames[2])

    after = list(learned.session.state.tensors())
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    learned.prepare(frames[2])
    assert torch.equal(learned.step(frames[2]).recompute[:, 0], mask)
    assert 0 < alone.macs() < 0.02 * Dense(backbone).macs()


def test_setting_the_knob_does_not_spare_the_session_the_embedding(backbone, frames, monkeypatch):
    learned = Learned(0.25, backbone, frames[0])
    learned.prepare(frames[1])
    calls = []
    embed = backbone.embed
    monkeypatch.setattr(backbone, "embed", lambda shown: calls.append(1) or embed(shown))
    learned.step(frames[1])
    assert calls == [1]
