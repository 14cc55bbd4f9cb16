"""Gates that put every mask pattern through a mechanism, and a way to run several executions."""

from types import SimpleNamespace

import pytest
import torch

from policy.gates import Decision, Gate, LearnedGate, Masks, RandomGate
from policy.gates.base import Carry
from policy.session import ReuseSession
from policy.signals import uniform_noise


class RandomlyReleasing(Gate):
    """Nested masks without any sense: admits like ``RandomGate``, releases 40 % in each block."""

    name = "randomly-releasing"

    def __init__(self):
        super().__init__(Masks.NESTED, knob=0.5)

    def decide(self, view):
        state, count = view.state, view.tokens.shape[1]
        draws = [uniform_noise(state.seed, state.frame, block, count) for block in range(12)]
        noise = torch.stack(draws, dim=-1)  # [s, p, blocks]
        admitted = noise[..., 0] < view.knob.unsqueeze(1)
        return Decision(admitted, carry=Carry(noise[..., 0], noise, noise[..., 0], admitted))

    def release(self, block, tokens, carry, relaxation):
        stays = carry.decision & (carry.content[..., block] < 0.6)
        return Decision(stays, carry=Carry(carry.score, carry.content, carry.noise, stays))


def make_gate(kind, backbone):
    if kind == "learned":
        torch.manual_seed(0)  # whatever ran before, some patches are released
        gate = LearnedGate(backbone.dim, backbone.depth, knob_mean=1.0).to(backbone.mean)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in gate.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.add_(0.2 * noise)
            for release in gate.releases:
                release[-1].bias -= 0.4  # so that each block lets some patches go
        return gate
    if kind == "nested":
        return RandomlyReleasing()
    return RandomGate(masks=Masks.SHARED if kind == "shared" else Masks.PER_BLOCK)


EXECUTIONS = {
    "per-block": ("masked", "gathered"),
    "shared": ("masked", "gathered", "compact"),
    "nested": ("masked", "gathered", "compact"),
    "learned": ("masked", "gathered", "compact"),
}


@pytest.fixture(params=EXECUTIONS)
def kind(request):
    """How the masks relate from block to block; "learned" is a nested gate that looks."""
    return request.param


@pytest.fixture
def run_all():
    """Run one gate in each execution it has; streams differ in knob, and one is reset half-way."""

    def run(backbone, kind, frames):
        gate = make_gate(kind, backbone)
        knob = torch.tensor([0.5, 0.0, -14.5] if kind == "learned" else [0.1, 0.5, 0.9])
        outcomes = {}
        for execution in EXECUTIONS[kind]:
            session = ReuseSession(backbone, gate, execution=execution)
            session.knob = knob.to(backbone.mean)
            results = []
            for index, frame in enumerate(frames):
                if index == 4:
                    session.reset(1)
                results.append(session.step(frame))
            fields = ("logits", "features", "patches", "recompute", "spent", "macs")
            stacked = {
                field: torch.stack([getattr(result, field) for result in results])
                for field in fields
            }
            outcomes[execution] = SimpleNamespace(**stacked, session=session)
        return outcomes

    return run
