"""Which models can be gated exactly, and how the others are refused."""

import pytest
import timm
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Attention, Block, VisionTransformer

from backbones import load_backbone
from backbones.coverage import check_covered
from datamodules.errors import RegateError

LIST = (
    "Covered are timm Vision Transformers whose blocks are exactly vision_transformer.Block with "
    "Attention: ViT, DeiT"
)


def built_without_memory(name):
    with torch.device("meta"):
        return timm.create_model(name)


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_patch16_224",
        "deit_base_patch16_224",
        "deit_base_distilled_patch16_224",
        "deit3_base_patch16_224",
        "vit_base_patch14_dinov2",
        "vit_base_patch14_reg4_dinov2",
        "vit_giant_patch14_dinov2",
        "vit_base_patch16_siglip_224",
        "vit_base_patch16_siglip_gap_224",
        "vit_base_patch16_clip_quickgelu_224",
        "aimv2_large_patch14_224",
        "vit_small_r26_s32_224",
        "vit_medium_patch16_reg4_gap_256",
    ],
)
def test_covered_families(name):
    assert isinstance(check_covered(built_without_memory(name), name), VisionTransformer)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("beit_base_patch16_224", "it is a Beit, not a timm VisionTransformer"),
        ("samvit_base_patch16", "it is a VisionTransformerSAM, not a timm VisionTransformer"),
        ("resnet18", "it is a ResNet, not a timm VisionTransformer"),
        ("naflexvit_base_patch16_gap", "it is a NaFlexVit, not a timm VisionTransformer"),
        ("eva02_tiny_patch14_224", "it is a Eva, not a timm VisionTransformer"),
        ("vit_base_patch16_rope_224", "it is a Eva, not a timm VisionTransformer"),
        ("vit_base_patch16_rpn_224", "block 0 is a timm.*vision_transformer.ResPostBlock"),
        ("vit_small_patch16_18x2_224", "block 0 is a timm.*ParallelThingsBlock"),
        ("vit_dwee_patch16_reg1_gap_256", "block 0 attends with DiffAttention"),
    ],
)
def test_others_are_refused_by_one_sentence_with_the_reason_and_the_list(name, reason):
    with pytest.raises(RegateError, match=f"^{name} cannot be gated: {reason}. {LIST}"):
        check_covered(built_without_memory(name), name)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", None), ("resnet18", 64), ("pvt_v2_b0", None)]
)
def test_loading_refuses_them_in_the_same_words(name, size):
    with pytest.raises(RegateError, match=f"^{name} cannot be gated: .* {LIST}"):
        load_backbone(name, weights="random", image_size=size)


def small():
    return VisionTransformer(img_size=32, embed_dim=16, depth=2, num_heads=2, num_classes=2)


class OwnBlock(Block):
    pass


class OwnAttention(Attention):
    pass


class OwnMlp(Mlp):
    pass


class OwnForward(VisionTransformer):
    def forward_features(self, x, attn_mask=None, is_causal=False):
        return super().forward_features(x).flip(1)


def test_subclasses_are_refused_since_they_may_do_anything():
    for attribute, kind, reason in (
        (None, OwnBlock, r"block 1 is a .*\.OwnBlock"),
        ("attn", OwnAttention, "block 1 attends with OwnAttention"),
        ("mlp", OwnMlp, "the MLP of block 1 is a OwnMlp"),
    ):
        model = small()
        module = getattr(model.blocks[1], attribute) if attribute else model.blocks[1]
        module.__class__ = kind
        with pytest.raises(RegateError, match=f"mine cannot be gated: {reason}. Covered are"):
            check_covered(model, "mine")


def test_a_forward_pass_of_its_own_is_refused():
    model = OwnForward(img_size=32, embed_dim=16, depth=1, num_heads=2)
    with pytest.raises(
        RegateError, match="mine cannot be gated: OwnForward has a forward_features"
    ):
        check_covered(model, "mine")
