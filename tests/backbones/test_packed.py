"""Packed layers are the same functions; what may not be packed stays as it is."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from backbones.opened import open_block
from backbones.packed import PackedLinear, pack

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@needs_onednn
@pytest.mark.parametrize("rows", [(), (1,), (20,), (2, 197)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_layer_for_any_number_of_rows(rows, bias):
    linear = nn.Linear(48, 80, bias=bias)
    inputs = torch.randn(*rows, 48)
    packed = pack(linear)

    assert isinstance(packed, PackedLinear)
    torch.testing.assert_close(packed(inputs), linear(inputs), rtol=0, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_in_the_same_pass_is_gelu_after_it(approximate):
    linear, gelu = nn.Linear(48, 80), nn.GELU(approximate)
    inputs = 3 * torch.randn(20, 48)
    packed = pack(linear)
    fused = packed.then_gelu(gelu)

    torch.testing.assert_close(fused(inputs), gelu(linear(inputs)), rtol=0, atol=1e-5)
    torch.testing.assert_close(packed(inputs), linear(inputs), rtol=0, atol=1e-5)


@needs_onednn
def test_torchs_counter_sees_a_packed_layer():
    with FlopCounterMode(display=False) as counter:
        pack(nn.Linear(48, 80))(torch.randn(2, 7, 48))
    assert counter.get_total_flops() == 2 * 14 * 48 * 80


@needs_onednn
def test_a_layer_is_packed_once_until_its_weight_is_written_to():
    linear = nn.Linear(48, 80).requires_grad_(False)
    inputs = torch.randn(20, 48)
    first = pack(linear)
    assert pack(linear) is first

    linear.weight.mul_(2)

    torch.testing.assert_close(pack(linear)(inputs), linear(inputs), rtol=0, atol=1e-5)


@needs_onednn
def test_a_layer_is_packed_anew_with_a_bias_put_in_its_place():
    linear = nn.Linear(48, 80).requires_grad_(False)
    inputs = torch.randn(20, 48)
    pack(linear)

    linear.bias = nn.Parameter(torch.ones(80), requires_grad=False)
    torch.testing.assert_close(pack(linear)(inputs), linear(inputs), rtol=0, atol=1e-5)
    linear.bias = None
    torch.testing.assert_close(pack(linear)(inputs), linear(inputs), rtol=0, atol=1e-5)


def test_what_cannot_be_packed_stays_as_it_is():
    double = nn.Linear(48, 80).double()
    assert pack(double) is double
    with torch.inference_mode():  # nobody counts writes to its weight
        uncounted = nn.Linear(48, 80)
    assert pack(uncounted) is uncounted


@needs_onednn
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_nothing_is_packed_where_onednn_is_switched_off():
    linear = nn.Linear(48, 80)
    with torch.backends.mkldnn.flags(enabled=False):
        assert pack(linear) is linear
    assert isinstance(pack(linear), PackedLinear)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_base_patch16_siglip_224"]
)
def test_the_second_half_of_an_opened_block_is_the_blocks_own(make_backbone, name):
    block = make_backbone(name).blocks[0]
    rows = torch.randn(7, 32)
    expected = block.ls2(block.mlp(block.norm2(rows)))
    for linear in (None, pack):
        opened = open_block(block, linear)
        found = rows
        for part in opened.mlp:
            found = part(found)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
