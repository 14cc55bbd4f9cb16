"""Whether the labels of the data are the classes that a backbone names."""

from collections.abc import Sequence

from timm.data import ImageNetInfo, infer_imagenet_subset

from backbones.vit import Backbone
from policy.serving.naming import class_names

SHOWN = 3


def why_no_accuracy(labels: Sequence[str], backbone: Backbone) -> str | None:
    """Say why labels cannot be held against logits, or None if they can.

    Args:
        labels: Names of the data's classes, in the order of their numbers; () if unlabelled.
        backbone: Its classes must be the same in the same order. Where nobody knows what they
            are called, their number must do.
    """
    if not labels:
        return "the clips are unlabelled"
    if not backbone.num_classes:
        return f"{backbone.name} has no classifier"
    known = _spellings(backbone)
    if known and tuple(labels) not in known:
        return (
            f"the data's classes ({_some(labels)}) are not those of {backbone.name} "
            f"({_some(known[0])})"
        )
    if len(labels) != backbone.num_classes:
        return f"the data have {len(labels)} classes, {backbone.name} has {backbone.num_classes}"
    return None


def _spellings(backbone: Backbone) -> list[tuple[str, ...]]:
    """What the classes may be called, all in the order of the logits; empty if nobody knows."""
    names = class_names(backbone)
    if not names:
        return []
    subset = infer_imagenet_subset({"num_classes": backbone.num_classes})
    # Folders of ImageNet go by WordNet's numbers.
    return [names] if subset is None else [names, tuple(ImageNetInfo(subset).label_names())]


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:SHOWN], "…"] if len(names) > SHOWN else names)
