"""From a timm name and a source of weights to a frozen backbone."""

from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from backbones import digits  # noqa: F401  (registers regate_vit_digits with timm)
from backbones.coverage import COVERED
from backbones.vit import Backbone
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop

RANDOM_SEED = 0
PROBE_SECONDS = 5.0
LOCAL_OPTIONS = (
    "give a local file (weights=FILE, .safetensors or .pth), fill the hub's cache on a connected "
    "machine, or use weights=random for a test"
)


def load_backbone(
    name: str,
    weights: str = "pretrained",
    image_size: int | None = None,
    num_classes: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    crop_pct: float | None = None,
) -> Backbone:
    """Load a frozen, eval-mode backbone.

    Args:
        name: timm's model name, with or without its pretrained tag.
        weights: "pretrained" (timm's), a local .safetensors or .pth file, or "random", which is
            the same for every call.
        image_size: Side of the square input in pixels; the position embedding is resampled to it
            once. The model's own by default.
        num_classes: Size of the classifier; the model's own by default.
        mean: Per channel on the [0, 1] scale; the model's own data config by default.
        std: Likewise.
        crop_pct: Share of the resized image kept by the centre crop; likewise.

    Raises:
        RegateError: If the name is unknown, the model is not covered, the weights are out of
            reach or do not fit.
    """
    model = _create(name, weights, image_size, num_classes)
    config = resolve_model_data_config(model)
    # The data config ignores the image size given at creation; the patch embedding knows it.
    size = model.patch_embed.img_size if hasattr(model, "patch_embed") else config["input_size"][1:]
    resize_crop = ResizeCrop(
        size=(int(size[0]), int(size[1])),
        crop_pct=config["crop_pct"] if crop_pct is None else crop_pct,
        interpolation=config["interpolation"],
        crop_mode=config["crop_mode"],
    )
    return Backbone(model, name, resize_crop, mean or config["mean"], std or config["std"])


def _create(
    name: str, weights: str, image_size: int | None, num_classes: int | None
) -> nn.Module:
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        close = ", ".join(timm.list_models(f"*{architecture[:8]}*")[:3]) or "timm.list_models()"
        raise RegateError(f"timm knows no model {name!r}: see {close}. Covered are {COVERED}.")
    options: dict[str, Any] = {}
    if image_size is not None:
        options["img_size"] = image_size
    if num_classes is not None:
        options["num_classes"] = num_classes
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return _load(name, weights, options)
    if weights == "pretrained":
        _check_reachable(name)
    else:
        if not Path(weights).is_file():
            raise RegateError(f"no weights file {weights!r} for {name}: {LOCAL_OPTIONS}")
        options["pretrained_cfg_overlay"] = {"file": weights}
    return _load(name, weights, {"pretrained": True} | options)


def _load(name: str, weights: str, options: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        # timm passes img_size to every entry point; models of another kind do not take it
        raise RegateError(f"{name} cannot be gated: {error}. Covered are {COVERED}.") from error
    except Exception as error:
        # safetensors, torch, timm and the hub each raise classes of their own, some with empty
        # messages; what a user needs is which file, for which model, and what to do.
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise RegateError(
            f"cannot load {weights!r} into {name} ({cause}): {LOCAL_OPTIONS}"
        ) from error


def _check_reachable(name: str) -> None:
    """Fail within seconds where the hub's client would retry for a minute and say nothing useful.

    Raises:
        RegateError: If the weights are neither cached nor within reach.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.file or config.url or config.hf_hub_id):
        raise RegateError(f"timm has no pretrained weights for {name}: {LOCAL_OPTIONS}")
    if config.file:
        if not Path(config.file).is_file():
            raise RegateError(f"no weights file {config.file!r} for {name}: {LOCAL_OPTIONS}")
        return
    if not config.hf_hub_id:
        return  # a plain download fails at once when the network is away
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    names = (config.hf_hub_filename or "model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in names):
        return
    try:
        get_hf_file_metadata(hf_hub_url(config.hf_hub_id, names[0]), timeout=PROBE_SECONDS)
    except OSError as error:
        raise RegateError(
            f"the pretrained weights of {name} are not cached and the model hub is out of reach "
            f"({type(error).__name__}): {LOCAL_OPTIONS}"
        ) from error
    except Exception as error:
        raise RegateError(
            f"the pretrained weights of {name} cannot be fetched ({type(error).__name__}): "
            f"{LOCAL_OPTIONS}"
        ) from error
