"""Gates that decide which tokens of a frozen video backbone are computed again.

Names are imported on first use, so that the command line can print its help without torch.
Importing this registers ``regate/TokenReuse-v0`` with gymnasium.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from policy.rl.registration import register_environment

if TYPE_CHECKING:
    from policy.gate_file import load_gate, save_gate
    from policy.guard import Guard
    from policy.records import FrameResult
    from policy.session import ReuseSession

__all__ = ["FrameResult", "Guard", "ReuseSession", "load_gate", "save_gate"]

_HOMES = {
    "FrameResult": "policy.records",
    "Guard": "policy.guard",
    "ReuseSession": "policy.session",
    "load_gate": "policy.gate_file",
    "save_gate": "policy.gate_file",
}

register_environment()


def __getattr__(name: str) -> Any:  # noqa: ANN401  (a module attribute can be anything)
    """Import ``name`` from its module on first use."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'policy' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the lazy names too, for completion in a shell."""
    return sorted({*globals(), *__all__})
