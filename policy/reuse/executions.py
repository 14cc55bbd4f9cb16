"""Which way of computing the masks a session takes."""

from typing import Any, Literal, get_args

from datamodules.errors import RegateError
from policy.gates.base import Masks
from policy.reuse.base import Mechanism
from policy.reuse.compact import CompactKV
from policy.reuse.dry import DryKV
from policy.reuse.kv import GatheredKV, MaskedKV

Execution = Literal["auto", "masked", "gathered", "compact", "fused", "dry"]


def mechanism(masks: Masks, execution: Execution) -> Mechanism[Any]:
    """The ``kv`` mechanism in the execution asked for; "auto" is the fastest that fits the masks.

    Raises:
        ValueError: If there is no such execution, or it does not fit the masks.
        RegateError: If it needs Triton, which is not installed.
    """
    if execution not in get_args(Execution):
        raise ValueError(f"execution must be one of {get_args(Execution)}, got {execution!r}")
    if execution == "masked":
        return MaskedKV()
    if execution == "dry":
        if masks is not Masks.SHARED:
            raise ValueError(f"only a shared mask can be followed dry, not a {masks} one")
        return DryKV()
    if execution == "fused":
        return _fused(masks)
    if execution == "gathered" or (execution == "auto" and masks is Masks.PER_BLOCK):
        return GatheredKV()
    return CompactKV(masks)


def _fused(masks: Masks) -> CompactKV:
    if masks is not Masks.SHARED:
        raise ValueError(f"only a shared mask is decided in one kernel, not a {masks} one")
    try:
        from policy.kernels.gating import fused_select
    except ImportError as error:
        raise RegateError(
            f'execution="fused" needs Triton ({error}): pip install "regate[triton]", or take '
            'execution="compact"'
        ) from error
    return CompactKV(masks, fused_select)
