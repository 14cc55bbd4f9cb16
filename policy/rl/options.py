"""What ``reset(options=...)`` may bring: clips of one's own, and at which settings."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.rl.world import Episode, World

KNOWN = ("clips", "labels", "clean", "budgets", "knobs", "prices", "repeats")


def episodes_from(
    world: World, options: dict[str, Any], rngs: Sequence[np.random.Generator]
) -> list[Episode]:
    """One episode per stream, drawn but for what the options give.

    Args:
        world: Of the environment.
        options: Any of ``clips`` uint8 [b, t, c, h, w], with ``labels`` int64 [b, t] and ``clean``
            like ``clips``; ``repeats``, the number of neighbouring streams that show one clip, so
            that b · repeats is the number of streams; ``budgets``, ``knobs`` and ``prices``, one
            per stream.
        rngs: One per stream.

    Raises:
        RegateError: If they are no dict, there are others, or shapes or types do not fit.
    """
    if not isinstance(options, dict):
        raise RegateError(
            f"the options of reset must be a dict, of {', '.join(KNOWN)}; got {options!r:.40}"
        )
    unknown = sorted(set(options) - set(KNOWN), key=str)
    if unknown:
        raise RegateError(f"reset knows no option {unknown[0]!r}: choose from {', '.join(KNOWN)}")
    streams = len(rngs)
    budgets, knobs, prices = (_per_stream(options, name, streams) for name in KNOWN[3:6])
    if any(price is not None and price < 0 for price in prices):
        raise RegateError(f"the option prices must be 0 or more, got {prices}")
    if options.get("clips") is None:
        for name in ("labels", "clean", "repeats"):
            if options.get(name) is not None:
                raise RegateError(f"the option {name} is of clips of one's own: give clips too")
        drawn = []
        for stream, rng in enumerate(rngs):
            episode = world.draw(rng, budgets[stream])
            knob, price = knobs[stream], prices[stream]
            episode.knob = episode.knob if knob is None else knob
            episode.price = episode.price if price is None else price
            drawn.append(episode)
        return drawn
    repeats = options.get("repeats", 1)
    if not isinstance(repeats, Integral) or repeats < 1:
        raise RegateError(f"the option repeats must be a whole number above 0, got {repeats!r}")
    repeats = int(repeats)
    episodes = []
    for place, clip in enumerate(_clips(world, options, streams, repeats)):
        dense = world.dense(clip)
        for stream in range(place * repeats, (place + 1) * repeats):
            budget = budgets[stream]
            if budget is None:
                low, high = np.log(world.low), np.log(world.high)
                budget = float(np.exp(rngs[stream].uniform(low, high)))
            episodes.append(world.episode(clip, budget, knobs[stream], prices[stream], dense))
    return episodes


def _per_stream(options: dict[str, Any], name: str, streams: int) -> list[float | None]:
    values = options.get(name)
    if values is None:
        return [None] * streams
    expected = f"the option {name} must be {streams} finite numbers, one per environment"
    try:
        listed = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RegateError(f"{expected}, got {values!r:.40}") from error
    if listed.shape != (streams,):
        raise RegateError(f"{expected}, got shape {list(listed.shape)}")
    if not np.isfinite(listed).all():
        raise RegateError(f"{expected}, got {listed.tolist()}")
    return [float(value) for value in listed]


def _clips(world: World, options: dict[str, Any], streams: int, repeats: int) -> list[Clip]:
    """The clips that were given."""
    frames = _tensor(options, "clips")
    size = (world.backbone.in_chans, *world.backbone.image_size)
    if frames.dtype != torch.uint8 or frames.dim() != 5 or tuple(frames.shape[2:]) != size:
        raise RegateError(
            f"the option clips must be uint8 [clips, frames, {', '.join(map(str, size))}], "
            f"got {frames.dtype} {list(frames.shape)}"
        )
    if len(frames) * repeats != streams:
        raise RegateError(
            f"{len(frames)} clips times {repeats} repeats do not make {streams} environments"
        )
    labels = _like(options, "labels", frames.shape[:2])
    classes = world.backbone.num_classes
    if labels is not None and (labels.is_floating_point() or labels.dtype == torch.bool):
        raise RegateError(f"the option labels must be whole numbers, got {labels.dtype}")
    if labels is not None and world.quality == "accuracy" and labels.max() >= classes:
        raise RegateError(
            f"the option labels must be below {classes}, the classes of {world.backbone.name}, "
            f"or -1 where there is none; got {int(labels.max())}"
        )
    clean = _like(options, "clean", frames.shape)
    if clean is not None and clean.dtype != torch.uint8:
        raise RegateError(f"the option clean must be uint8 like the clips, got {clean.dtype}")
    return [
        Clip(
            frames=frames[index],
            labels=torch.full(frames.shape[1:2], -1) if labels is None else labels[index],
            name=f"given/{index}",
            group=f"given/{index}",
            clean=None if clean is None else clean[index],
        )
        for index in range(len(frames))
    ]


def _tensor(options: dict[str, Any], name: str) -> Tensor:
    value = options[name]
    try:
        # torch takes no array that runs backwards, as a flipped one does.
        return torch.as_tensor(value.copy() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RegateError(
            f"the option {name} must be a tensor, or an array, got {value!r:.40}"
        ) from error


def _like(options: dict[str, Any], name: str, shape: torch.Size) -> Tensor | None:
    if options.get(name) is None:
        return None
    value = _tensor(options, name)
    if value.shape != shape:
        raise RegateError(
            f"the option {name} must have shape {list(shape)} like the clips, "
            f"got {list(value.shape)}"
        )
    return value
