"""State as an explicit value: what a session remembers of its streams between two frames."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Streams:
    """Base of every state: tensors whose first dimension is the stream.

    Fields are tensors, tuples of tensors, or further ``Streams``; everything below follows from
    that alone, so that a new mechanism's state can be copied, moved and split at no extra code.
    """

    def tensors(self) -> Iterator[Tensor]:
        """Each tensor once, in the order of the fields."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Streams):
                yield from value.tensors()
            elif isinstance(value, tuple):
                yield from value
            else:
                yield value

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same state with ``function`` applied to each tensor."""
        changed: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Streams):
                changed[field.name] = value.map(function)
            elif isinstance(value, tuple):
                changed[field.name] = tuple(function(item) for item in value)
            else:
                changed[field.name] = function(value)
        return replace(self, **changed)

    def clone(self) -> Self:
        """An independent copy."""
        return self.map(torch.clone)

    def detach(self) -> Self:
        """Cut off from the frames before it, for truncated back-propagation."""
        return self.map(torch.detach)

    def to(self, device: torch.device | str) -> Self:
        """On another device."""
        return self.map(lambda tensor: tensor.to(device))

    def select(self, streams: Tensor) -> Self:
        """The given streams alone, int64 or bool index [s]; a copy."""
        return self.map(lambda tensor: tensor[streams])

    def put(self, streams: Tensor, part: Self) -> Self:
        """This state with the given streams replaced by those of ``part``."""
        parts = part.tensors()

        def replaced(tensor: Tensor) -> Tensor:
            tensor = tensor.clone()
            tensor[streams] = next(parts)
            return tensor

        return self.map(replaced)

    @property
    def nbytes(self) -> int:
        """Bytes held, over all streams."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())


@dataclass(frozen=True)
class GateState(Streams):
    """What gates may know of a stream besides its tokens.

    Attributes:
        frame: Frames since the last reset, int64 [s]; 0 means that the next one is dense.
        seed: Of the stream's random decisions, int64 [s].
        age: Frames since each patch was last recomputed, float32 [s, p].
        last: Whether it was recomputed on the frame before, bool [s, p].
        memo: What the gate itself wrote down of the stream, float32 [s, m]; zeros at first.
    """

    frame: Tensor
    seed: Tensor
    age: Tensor
    last: Tensor
    memo: Tensor

    @classmethod
    def fresh(cls, seeds: Tensor, patches: int, memo: int = 0) -> Self:
        """For streams that have not seen a frame, of a gate that writes ``memo`` numbers."""
        shape = (len(seeds), patches)
        return cls(
            frame=torch.zeros_like(seeds),
            seed=seeds,
            age=torch.zeros(shape, device=seeds.device),
            last=torch.ones(shape, dtype=torch.bool, device=seeds.device),
            memo=torch.zeros(len(seeds), memo, device=seeds.device),
        )

    def after(self, recomputed: Tensor) -> Self:
        """One frame later; ``recomputed`` is bool [s, p]."""
        return replace(
            self,
            frame=self.frame + 1,
            age=torch.where(recomputed, 0.0, self.age + 1),
            last=recomputed,
        )


@dataclass(frozen=True)
class GuardState(Streams):
    """What a guard remembers of a stream; of width 0 is what it does not watch.

    Attributes:
        before: The patches' first block input on the frame before, [s, p, d].
        moved: How far each moved then and on the frame before that, relative to its norm,
            [s, p, 2]; infinite where there was no frame to move from.
        age: Frames since each patch was last recomputed in every block, int32 [s, p].
        pending: How urgently each patch waits for a capped flush, [s, p]; 0 where it does not.
        running: Running mean of the spot checks' distances, [s, 1]; NaN before the first.
    """

    before: Tensor
    moved: Tensor
    age: Tensor
    pending: Tensor
    running: Tensor

    def after(self, recomputed: Tensor) -> Self:
        """One frame later; ``recomputed`` is bool [s, l, p]."""
        whole = recomputed.all(1)
        # A patch that some block has released goes on ageing: what that block cached is old.
        age, pending = self.age, self.pending
        if age.numel():
            age = torch.where(whole, 0, age + 1)
        if pending.numel():
            pending = torch.where(whole, 0.0, pending)
        return replace(self, age=age, pending=pending)


@dataclass(frozen=True)
class SessionState(Streams):
    """Everything a session remembers.

    Attributes:
        gate: What gates may know.
        guard: What the guard remembers.
        caches: The mechanism's.
        logits: Last output, [s, k], repeated while a gate holds; empty for gates that never do.
        features: Likewise, [s, d].
        patches: Likewise, [s, p, d].
    """

    gate: GateState
    guard: GuardState
    caches: Streams
    logits: Tensor
    features: Tensor
    patches: Tensor
