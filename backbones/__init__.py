"""Frozen image backbones whose tokens can be reused from frame to frame."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backbones.loading import load_backbone
    from backbones.preprocessing import Preprocessing
    from backbones.vit import Backbone

__all__ = ["Backbone", "Preprocessing", "load_backbone"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (a module attribute can be anything)
    """Import on first use, so that ``import backbones`` does not pay for torch."""
    if name == "load_backbone":
        from backbones.loading import load_backbone

        return load_backbone
    if name == "Preprocessing":
        from backbones.preprocessing import Preprocessing

        return Preprocessing
    if name == "Backbone":
        from backbones.vit import Backbone

        return Backbone
    raise AttributeError(f"module 'backbones' has no attribute {name!r}")
