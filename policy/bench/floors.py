"""What no program can be faster than on this machine: operations over rate, bytes over bandwidth.

Both rates are measured in every round of the benchmark, beside what is held against them, so that
other work on the machine slows both down.
"""

from dataclasses import dataclass, field
from statistics import median

import torch
from torch import nn

from backbones.packed import pack
from backbones.vit import Backbone
from policy.bench.clock import Clock, milliseconds

# Sides of a square product that keeps all units busy for some milliseconds.
GEMM_SIDE = {"cpu": 1024, "cuda": 8192}
# Rows and columns of a matrix that no cache holds.
READ_SHAPE = (16384, 4096)


@dataclass(frozen=True)
class Floors:
    """The machine's rates and what a model asks of them.

    Attributes:
        macs_per_s: Of a large square matrix product, by torch's own or by a packed layer,
            whichever is faster; median over the rounds.
        bytes_per_s: Read by a matrix-vector product of a matrix that no cache holds, likewise.
        weight_bytes: All weights of the backbone, which every frame reads once.
    """

    macs_per_s: float
    bytes_per_s: float
    weight_bytes: int

    def operations_ms(self, macs: float) -> float:
        """Least time of so many MACs."""
        return 1000 * macs / self.macs_per_s

    @property
    def bytes_ms(self) -> float:
        """Least time to read the weights once."""
        return 1000 * self.weight_bytes / self.bytes_per_s


@dataclass
class FloorMeter:
    """Measures the two rates, once per ``measure``.

    Args:
        backbone: On its device, in the dtype it is timed in.
        clock: By which.
    """

    backbone: Backbone
    clock: Clock = "wall"
    _macs_per_s: list[float] = field(default_factory=list)
    _bytes_per_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the operands."""
        like = self.backbone.mean
        side = GEMM_SIDE.get(like.device.type, GEMM_SIDE["cuda"])
        self._square = like.new_ones(side, side)
        self._layer = pack(nn.Linear(side, side, bias=False, device=like.device, dtype=like.dtype))
        self._large = like.new_ones(READ_SHAPE)
        self._vector = like.new_ones(READ_SHAPE[1])

    @torch.no_grad()
    def measure(self) -> None:
        """Take one sample of each; the faster of two runs, of which the first warms up."""
        device = self.backbone.mean.device
        clock, square = self.clock, self._square
        plain = min(milliseconds(clock, device, torch.mm, square, square) for _ in range(2))
        layer = min(milliseconds(clock, device, self._layer, square) for _ in range(2))
        gemm = min(plain, layer)
        read = min(
            milliseconds(clock, device, torch.mv, self._large, self._vector) for _ in range(2)
        )
        self._macs_per_s.append(1000 * len(self._square) ** 3 / gemm)
        self._bytes_per_s.append(1000 * self._large.nbytes / read)

    def floors(self) -> Floors:
        """Medians of the samples so far."""
        weights = sum(parameter.nbytes for parameter in self.backbone.parameters())
        return Floors(median(self._macs_per_s), median(self._bytes_per_s), weights)
