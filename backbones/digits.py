"""The tiny ViT of the embedded default: trained here, shipped here, known to timm by name."""

from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

WEIGHTS = Path(__file__).parent.parent / "checkpoints" / "regate_vit_digits.safetensors"

default_cfgs = generate_default_cfgs(
    {
        "regate_vit_digits": {
            "file": str(WEIGHTS),
            "input_size": (3, 96, 96),
            "num_classes": 10,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def regate_vit_digits(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:  # noqa: ANN401
    """ViT with 4 blocks of width 96 over 12 × 12 patches of a 96-pixel frame; ten classes.

    Small enough to train and run on two CPU cores, and built of the same timm blocks as the
    large ones, so that everything measured on it goes through the code that serves them.
    """
    settings: dict[str, Any] = {
        "img_size": 96,
        "patch_size": 8,
        "embed_dim": 96,
        "depth": 4,
        "num_heads": 3,
        # With a class token the same training stayed at chance: one token among 145 has to find
        # a small digit by attention alone, where the maximum over patches leads straight to it.
        "class_token": False,
        "global_pool": "max",
    }
    model: VisionTransformer = build_model_with_cfg(
        VisionTransformer,
        "regate_vit_digits",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,  # resamples the positions to the image size
        **(settings | kwargs),
    )
    return model
