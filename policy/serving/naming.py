"""What a backbone's classes are called."""

from pathlib import Path

from timm.data import ImageNetInfo, infer_imagenet_subset

from backbones.vit import Backbone
from datamodules.errors import RegateError


def class_names(backbone: Backbone, given: str = "") -> tuple[str, ...]:
    """Names in the order of the logits; () where nobody knows them.

    Args:
        backbone: Its classes are digits for this project's own model; otherwise their number
            tells which of timm's ImageNet lists it was trained on.
        given: Names as ``cat,dog``, or a text file with one per line; overrides what is known.

    Raises:
        RegateError: If there are more or fewer names than logits.
    """
    if given:
        names = _read(given)
        if len(names) != backbone.num_classes:
            raise RegateError(
                f"{backbone.name} has {backbone.num_classes} classes, but class_names gives "
                f"{len(names)}: give one name per class, in the order of the logits"
            )
        return names
    if not backbone.num_classes:
        return ()
    if backbone.name.startswith("regate_vit_digits"):
        return tuple(str(digit) for digit in range(backbone.num_classes))
    subset = infer_imagenet_subset({"num_classes": backbone.num_classes})
    if subset is None:
        return ()
    info = ImageNetInfo(subset)
    # A description lists synonyms; the first will do.
    return tuple(
        info.index_to_description(index).split(",")[0] for index in range(backbone.num_classes)
    )


def _read(given: str) -> tuple[str, ...]:
    # A list of a thousand names is too long to be asked for as a path.
    is_file = "," not in given and Path(given).is_file()
    try:
        text = Path(given).read_text("utf-8-sig") if is_file else given.replace(",", "\n")
    except UnicodeDecodeError as error:
        raise RegateError(f"{given} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())
