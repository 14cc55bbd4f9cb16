"""Which timm models can be gated exactly, decided by what their modules are."""

from typing import cast

from timm.layers import GluMlp, Mlp, SwiGLU
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import nn

from datamodules.errors import RegateError

COVERED = (
    "timm Vision Transformers whose blocks are exactly vision_transformer.Block with Attention: "
    "ViT, DeiT (plain and distilled), DeiT-3, DINOv2 (with and without registers), SigLIP, CLIP "
    "and AIMv2 image towers"
)

# Modules that treat each token alone; anything else in the MLP's place could mix tokens, and then
# a recomputed row would depend on rows that were reused.
TOKENWISE_MLPS = (Mlp, GluMlp, SwiGLU)


def check_covered(model: nn.Module, name: str) -> VisionTransformer:
    """Return ``model`` as a Vision Transformer that the reuse mechanism computes exactly.

    The class *itself* is compared, never its name: BEiT and SAM have other classes that are also
    called ``Block``, and a subclass may override what the mechanism replays.

    Raises:
        RegateError: If it is not covered; the sentence says why and lists what is.
    """
    reason = _why_not(model)
    if reason or not isinstance(model, VisionTransformer):
        raise RegateError(f"{name} cannot be gated: {reason}. Covered are {COVERED}.")
    return model


def attention(block: Block) -> Attention:
    """The block's attention, of the class that ``check_covered`` has made sure of."""
    return cast(Attention, block.attn)


def _why_not(model: nn.Module) -> str:
    if not isinstance(model, VisionTransformer):
        return f"it is a {type(model).__name__}, not a timm VisionTransformer"
    for method in ("forward", "forward_features", "pool"):
        if getattr(type(model), method) is not getattr(VisionTransformer, method):
            return f"{type(model).__name__} has a {method} of its own"
    for index, block in enumerate(model.blocks):
        if type(block) is not Block:
            return f"block {index} is a {type(block).__module__}.{type(block).__name__}"
        if type(block.attn) is not Attention:
            return f"block {index} attends with {type(block.attn).__name__}"
        if block.attn.proj.out_features != model.embed_dim:
            return f"block {index} changes the token width"
        if type(block.mlp) not in TOKENWISE_MLPS:
            return f"the MLP of block {index} is a {type(block.mlp).__name__}"
    return ""
