"""Which way of computing the masks a session takes."""

from typing import Any, Literal, get_args

from policy.gates.base import Masks
from policy.reuse.base import Mechanism
from policy.reuse.compact import CompactKV
from policy.reuse.dry import DryKV
from policy.reuse.kv import GatheredKV, MaskedKV

Execution = Literal["auto", "masked", "gathered", "compact", "dry"]


def mechanism(masks: Masks, execution: Execution) -> Mechanism[Any]:
    """The ``kv`` mechanism in the execution asked for; "auto" is the fastest that fits the masks.

    Raises:
        ValueError: If there is no such execution, or it does not fit the masks.
    """
    if execution not in get_args(Execution):
        raise ValueError(f"execution must be one of {get_args(Execution)}, got {execution!r}")
    if execution == "masked":
        return MaskedKV()
    if execution == "dry":
        if masks is not Masks.SHARED:
            raise ValueError(f"only a shared mask can be followed dry, not a {masks} one")
        return DryKV()
    if execution == "gathered" or (execution == "auto" and masks is Masks.PER_BLOCK):
        return GatheredKV()
    return CompactKV(masks)
