"""Which way of computing the masks a session takes."""

from typing import Any, Literal, get_args

import torch

from datamodules.errors import RegateError
from policy.gates.base import Masks
from policy.reuse.base import Mechanism
from policy.reuse.compact import CompactKV
from policy.reuse.compiled import CompiledKV
from policy.reuse.dry import DryKV
from policy.reuse.kv import GatheredKV, MaskedKV

Execution = Literal["auto", "masked", "gathered", "compact", "compiled", "fused", "dry"]

# Of cached keys and values, instead of the weights' own.
CacheDtype = Literal["float16", "bfloat16"]
CACHE_DTYPES: tuple[torch.dtype, ...] = tuple(getattr(torch, name) for name in get_args(CacheDtype))


def named_dtype(name: CacheDtype | None) -> torch.dtype | None:
    """The dtype that a command line names for cached keys and values; None for the weights' own."""
    return None if name is None else CACHE_DTYPES[get_args(CacheDtype).index(name)]


def mechanism(
    masks: Masks, execution: Execution, cache_dtype: torch.dtype | None = None
) -> Mechanism[Any]:
    """The ``kv`` mechanism in the execution asked for; "auto" is the fastest that fits the masks.

    Raises:
        RegateError: If keys and values cannot be cached in ``cache_dtype``, or the execution needs
            Triton, which is not installed.
        ValueError: If there is no such execution, or it does not fit the masks or the cache.
    """
    _check_cache(execution, cache_dtype)
    if execution not in get_args(Execution):
        raise ValueError(f"execution must be one of {get_args(Execution)}, got {execution!r}")
    if execution == "masked":
        return MaskedKV()
    if execution == "dry":
        if masks is not Masks.SHARED:
            raise ValueError(f"only a shared mask can be followed dry, not a {masks} one")
        return DryKV()
    if execution == "compiled":
        if masks is not Masks.SHARED:
            raise ValueError(f"only a shared mask has rows of one shape, not a {masks} one")
        return CompiledKV(cache_dtype=cache_dtype)
    if execution == "fused":
        return _fused(masks, cache_dtype)
    if execution == "gathered" or (execution == "auto" and masks is Masks.PER_BLOCK):
        return GatheredKV(cache_dtype)
    return CompactKV(masks, cache_dtype=cache_dtype)


def _fused(masks: Masks, cache_dtype: torch.dtype | None) -> CompactKV:
    if masks is not Masks.SHARED:
        raise ValueError(f"only a shared mask is decided in one kernel, not a {masks} one")
    try:
        from policy.kernels.gating import fused_select
    except ImportError as error:
        raise RegateError(
            f'execution="fused" needs Triton ({error}): pip install "regate[triton]", or take '
            'execution="compact"'
        ) from error
    return CompactKV(masks, fused_select, cache_dtype)


def _check_cache(execution: Execution, cache_dtype: torch.dtype | None) -> None:
    if cache_dtype is None:
        return
    if cache_dtype not in CACHE_DTYPES:
        raise RegateError(
            f"keys and values can be cached in torch.float16 or torch.bfloat16, not in "
            f"{cache_dtype}: give one of them, or None for the weights' own dtype"
        )
    if execution in ("masked", "dry"):
        raise ValueError(f"execution {execution!r} keeps no cache in {cache_dtype}")
