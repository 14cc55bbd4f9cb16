"""Sessions run the modules that the backbone has now, however often these change."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from backbones.watch import ModuleWatch
from policy.gates import Masks, RandomGate
from policy.session import ReuseSession

PACKED = ("gathered", "compact")
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


class Operators(TorchDispatchMode):
    """Collects the names of the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.add(operator.name().split(".")[0])
        return operator(*args, **(kwargs or {}))


def open_session(backbone, execution):
    return ReuseSession(backbone, RandomGate(masks=Masks.SHARED), execution=execution)


def logits(backbone, execution, frames):
    session = open_session(backbone, execution)
    return torch.stack([session.step(frame).logits for frame in frames])


class Doubled(nn.Linear):
    """A linear layer with a forward of its own."""

    def forward(self, rows):
        return 2 * super().forward(rows)


class Wrapper(nn.Module):
    """What adapters put in a layer's place: it passes the layer's weight off as its own."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    @property
    def weight(self):
        return self.base.weight

    @property
    def bias(self):
        return self.base.bias

    def forward(self, rows):
        return self.base(rows) + rows.mean(-1, keepdim=True)


def subclass(backbone):
    for block in backbone.blocks:
        doubled = Doubled(48, 144)
        doubled.load_state_dict(block.attn.qkv.state_dict())
        block.attn.qkv = doubled


def wrapper(backbone):
    for block in backbone.blocks:
        block.attn.qkv = Wrapper(block.attn.qkv)


def patched(backbone):
    for block in backbone.blocks:
        forward = block.mlp.fc1.forward
        block.mlp.fc1.forward = lambda rows, forward=forward: 2 * forward(rows)


HOOKED = ("attn.qkv", "attn.proj", "attn.proj_drop", "attn.q_norm", "norm1", "norm2", "ls1")
HOOKED += ("drop_path1", "mlp", "mlp.fc1", "mlp.act", "mlp.drop1", "mlp.fc2")


def hooked(name):
    def change(backbone):
        for block in backbone.blocks:
            module = block.get_submodule(name)
            module.register_forward_hook(lambda module, inputs, output: 1.5 * output)

    return change


def prehooked(backbone):
    for block in backbone.blocks:
        block.mlp.fc2.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))


CHANGES = {"subclass": subclass, "wrapper": wrapper, "patched": patched, "prehooked": prehooked}
CHANGES |= {f"hook on {name}": hooked(name) for name in HOOKED}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_more_than_a_linear_layer_keeps_its_own_forward(change, backbone, make_frames):
    frames = make_frames(backbone, 3)
    before = logits(backbone, "masked", frames)
    change(backbone)
    masked = logits(backbone, "masked", frames)

    assert (masked[0] - backbone.vit(frames[0])).abs().max() < 1e-4
    assert (masked - before).abs().max() > 1e-2, "the change must matter"
    for execution in PACKED:
        assert (logits(backbone, execution, frames) - masked).abs().max() < 1e-4


@pytest.mark.parametrize("change", [wrapper, patched, prehooked, hooked("norm1")])
@pytest.mark.parametrize("execution", ["masked", *PACKED])
def test_what_is_put_on_between_two_frames_holds_from_the_next(
    change, execution, backbone, make_frames
):
    frame = make_frames(backbone, 1)[0]
    session = open_session(backbone, execution)
    session.step(frame)
    change(backbone)
    session.reset(0)

    assert (session.step(frame).logits - backbone.vit(frame)).abs().max() < 1e-4


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("execution", ["masked", *PACKED])
def test_loaded_weights_hold_from_the_next_frame(execution, assign, make_backbone, make_frames):
    backbone = make_backbone()
    frame = make_frames(backbone, 1)[0]
    session = open_session(backbone, execution)
    fresh_state = copy.deepcopy(session.state)
    session.step(frame)
    others = {key: 1.5 * value for key, value in backbone.vit.state_dict().items()}
    backbone.vit.load_state_dict(others, assign=assign)

    session.reset(0)
    after_reset = session.step(frame).logits
    session.state = fresh_state
    after_state = session.step(frame).logits

    dense = backbone.vit(frame)
    assert (after_reset - dense).abs().max() < 1e-3
    assert (after_state - dense).abs().max() < 1e-3


@pytest.mark.parametrize("execution", ["masked", *PACKED])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))]
)
def test_a_copy_of_a_session_goes_on_as_the_original(copied, execution, backbone, make_frames):
    first, second, third = make_frames(backbone, 3)
    session = open_session(backbone, execution)
    session.step(first)
    session.step(second)
    other = copied(session)

    assert torch.equal(other.step(third).logits, session.step(third).logits)
    assert torch.equal(other.step(first).logits, session.step(first).logits)


@needs_onednn
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("execution", PACKED)
def test_onednn_switched_off_means_no_packed_layer(execution, backbone, make_frames):
    frame = make_frames(backbone, 1)[0]
    session = open_session(backbone, execution)

    def runs_packed():
        session.reset(0)
        with Operators() as operators:
            session.step(frame)
        return "mkldnn::_linear_pointwise" in operators.names

    assert runs_packed()
    with torch.backends.mkldnn.flags(enabled=False):
        assert not runs_packed()
    assert runs_packed()


def test_a_watch_sees_writes_exchanges_and_hooks():
    layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).requires_grad_(False)

    def seen(change):
        watch = ModuleWatch([layers])
        assert not watch.changed()
        change()
        return watch.changed()

    assert seen(lambda: layers[0].weight.add_(1))
    assert seen(lambda: layers[0].bias.add_(1))
    assert seen(lambda: setattr(layers[1], "weight", nn.Parameter(torch.ones(4))))
    assert seen(lambda: layers.__setitem__(1, nn.Identity()))
    assert seen(lambda: layers[0].register_forward_hook(print))
    assert seen(lambda: layers[0].register_forward_pre_hook(print))
    assert seen(lambda: setattr(layers[0], "forward", print))


def test_a_watch_takes_weights_made_under_inference_mode():
    with torch.inference_mode():
        layer = nn.Linear(4, 4)
    assert not ModuleWatch([layer]).changed()
