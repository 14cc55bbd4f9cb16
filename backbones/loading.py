"""From a timm name and a source of weights to a frozen backbone."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg, load_state_dict
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from backbones import digits  # noqa: F401  (registers regate_vit_digits with timm)
from backbones.coverage import COVERED, check_covered
from backbones.preprocessing import Preprocessing, resolve
from backbones.vit import Backbone
from datamodules.errors import RegateError

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
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
) -> Backbone:
    """Load a frozen, eval-mode backbone.

    Args:
        name: timm's model name, with or without its pretrained tag.
        weights: "pretrained" (timm's), a local .safetensors or .pth file, or "random", which is
            the same for every call.
        image_size: Short for that of ``preprocessing``, over which it wins; likewise mean, std
            and crop_pct.
        num_classes: 0 leaves the classifier out; random weights take any number; stored weights
            only the one they have, which is the default.
        mean: See image_size.
        std: Likewise.
        crop_pct: Likewise.
        preprocessing: What happens to an image first; the model's own where it is None.

    Raises:
        RegateError: If the name is unknown, the model is not covered, the weights are out of
            reach or do not fit.
    """
    short = Preprocessing(image_size=image_size, mean=mean, std=std, crop_pct=crop_pct)
    asked = short.over(preprocessing)
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            model = untrained(name, asked.image_size, num_classes)
    else:
        model = _trained(name, weights, asked.image_size, num_classes)
    return Backbone(model, name, *resolve(model, asked))


def untrained(
    name: str, image_size: int | None = None, num_classes: int | None = None
) -> VisionTransformer:
    """Make a covered model as timm initialises it; the arguments are those of ``load_backbone``.

    Raises:
        RegateError: If the name is unknown, the model is not covered, or the size does not fit.
    """
    _pretrained_config(name)  # timm would make a model of a tag that it does not know
    options = _size_option(name, image_size)
    if num_classes is not None:
        options["num_classes"] = num_classes
    return check_covered(timm.create_model(name, **options), name)


def _pretrained_config(name: str) -> PretrainedCfg:
    """What timm knows of the weights that a name, with or without tag, stands for."""
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        close = (
            ", ".join(get_close_matches(architecture, timm.list_models())) or "timm.list_models()"
        )
        raise RegateError(f"timm knows no model {name!r}: see {close}. Covered are {COVERED}.")
    try:
        return timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{architecture}.*")) or architecture
        raise RegateError(f"timm knows no weights {name!r}: choose one of {tags}") from error


def _trained(
    name: str, weights: str, image_size: int | None, num_classes: int | None
) -> VisionTransformer:
    config = _pretrained_config(name)
    options = _size_option(name, image_size)
    if weights == "pretrained":
        file = _within_reach(name, config)
        source: dict[str, Any] = {} if file is None else {"file": file}
        stored = config.num_classes
    else:
        tensors = _read(name, weights)
        source = {"state_dict": tensors}
        stored = _stored_classes(tensors, config)
    if num_classes not in (None, 0, stored):
        # timm would put a random classifier in its place, and a frozen one never learns
        raise RegateError(
            f"{weights!r} has a classifier for {stored} classes, but num_classes is {num_classes}: "
            "leave num_classes out, or give 0 for a backbone without classifier"
        )
    # Told the stored number, timm loads strictly: with another it would let any key be missing.
    options |= {"num_classes": stored, "pretrained_cfg_overlay": source | {"num_classes": stored}}
    try:
        model: Any = timm.create_model(name, pretrained=True, **options)
    except Exception as error:
        raise _unloadable(name, weights, error) from error
    model.pretrained_cfg["state_dict"] = None  # a second copy of the weights
    if num_classes == 0:
        model.reset_classifier(0)
    return check_covered(model, name)


def _size_option(name: str, image_size: int | None) -> dict[str, Any]:
    """The option of timm for an image size.

    Raises:
        RegateError: If the model is not covered, or the size is one of which timm would cut off
            an edge, or that leaves no patch at all.
    """
    if image_size is None:
        return {}
    with torch.device("meta"):
        model = check_covered(timm.create_model(name), name)
    patch = model.patch_embed.feat_ratio()
    if image_size % patch:
        near = patch * max(1, round(image_size / patch))
        raise RegateError(
            f"image_size {image_size} cannot be cut into the patches of {name}, whose side is "
            f"{patch} pixels: give a multiple of {patch}, such as {near}"
        )
    return {"img_size": image_size}


def _unloadable(name: str, weights: str, error: Exception) -> RegateError:
    # safetensors, torch, timm and the hub each raise classes of their own, some with empty
    # messages; what a user needs is which file, for which model, and what to do.
    cause = " ".join(str(error).split())[:200] or type(error).__name__
    return RegateError(f"cannot load {weights!r} into {name} ({cause}): {LOCAL_OPTIONS}")


def _read(name: str, weights: str) -> dict[str, Tensor]:
    """Tensors of a local file; a pickle is opened only as far as it holds plain weights."""
    if not Path(weights).is_file():
        raise RegateError(f"no weights file {weights!r} for {name}: {LOCAL_OPTIONS}")
    try:
        tensors: dict[str, Tensor] = load_state_dict(weights, weights_only=True)
    except Exception as error:
        raise _unloadable(name, weights, error) from error
    return tensors


def _stored_classes(tensors: dict[str, Tensor], config: PretrainedCfg) -> int:
    """Outputs of the classifier in a file; the model's own number where it cannot be told."""
    classifier = config.classifier if isinstance(config.classifier, str) else "head"
    if f"{classifier}.weight" in tensors:
        return len(tensors[f"{classifier}.weight"])
    # Under timm's names a classifier would have been found; other names are converted by timm.
    return 0 if "blocks.0.attn.qkv.weight" in tensors else config.num_classes


def _within_reach(name: str, config: PretrainedCfg) -> str | None:
    """Fail within seconds where the hub's client would retry for a minute and say nothing useful.

    Returns:
        The file of weights that are on this machine already; None where timm has to fetch them.

    Raises:
        RegateError: If the weights are neither cached nor within reach.
    """
    if not (config.file or config.url or config.hf_hub_id):
        raise RegateError(f"timm has no pretrained weights for {name}: {LOCAL_OPTIONS}")
    if config.file:
        if not Path(config.file).is_file():
            raise RegateError(f"no weights file {config.file!r} for {name}: {LOCAL_OPTIONS}")
        return str(config.file)
    if not config.hf_hub_id:
        return None  # a plain download fails at once when the network is away
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    names = (config.hf_hub_filename or "model.safetensors", "pytorch_model.bin")
    for file in names:
        cached = try_to_load_from_cache(config.hf_hub_id, file)
        if isinstance(cached, str):
            return cached
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
    return None
