"""What a gate can measure of a token: pure functions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# A token that did not move at all has drift 0; its logarithm must stay finite.
DRIFT_FLOOR = 1e-6
COSINE_FLOOR = 1e-12
# Its multiples are spread more evenly over the unit interval than those of any other number.
GOLDEN = (math.sqrt(5) - 1) / 2


def l2_drift(tokens: Tensor, reference: Tensor) -> Tensor:
    """How far each token is from the version its cache was made from.

    The threshold policy's signal in Eventful Transformers (https://arxiv.org/abs/2308.13494).

    Args:
        tokens: A block's input, [..., p, d].
        reference: The cached version, [..., p, d].

    Returns:
        L2 distance in the units of the tokens, [..., p].
    """
    distance: Tensor = torch.linalg.vector_norm(tokens - reference, dim=-1)
    return distance


def log_drift(tokens: Tensor, reference: Tensor) -> Tensor:
    """Natural logarithm of ``l2_drift``, finite for a token that did not move, [..., p]."""
    return l2_drift(tokens, reference).clamp_min(DRIFT_FLOOR).log()


def log_cosine_drift(tokens: Tensor, reference: Tensor) -> Tensor:
    """Natural logarithm of 1 − cosine of each token and its reference, [..., p]."""
    distance = 1 - F.cosine_similarity(tokens, reference, dim=-1)
    return distance.clamp_min(COSINE_FLOOR).log()


def neighbourhood(values: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean and maximum over the 3 × 3 patches around each, the frame's edge left out.

    Args:
        values: One value per patch, [s, p].
        grid: Patch rows and columns, whose product is p.

    Returns:
        Mean and maximum, each [s, p].
    """
    image = values.unflatten(-1, grid).unsqueeze(1)  # [s, 1, rows, columns]
    mean = F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    peak = F.max_pool2d(image, 3, stride=1, padding=1)
    return mean.flatten(1), peak.flatten(1)


def ranks(score: Tensor) -> Tensor:
    """Place of each patch by descending score, the highest at 0; of equal ones the first leads.

    Args:
        score: [s, p].

    Returns:
        int64 [s, p].
    """
    # Stable, so that ties are broken alike on every device.
    return score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def due(frame: Tensor, rate: Tensor, phase: Tensor | float) -> Tensor:
    """Whether ``rate · frame + phase`` has just passed a whole number.

    Both sides of the step are computed by one expression from whole frame numbers, so that each
    whole number is passed exactly once in spite of rounding, and the mean over frames is the rate.

    Args:
        frame: Frames since the stream was reset, int64.
        rate: Times per frame, in [0, 1], float64.
        phase: In [0, 1).

    Returns:
        bool, of the arguments' common shape.
    """
    now = (frame * rate + phase).floor()
    return now > ((frame - 1) * rate + phase).floor()


def staggered(index: int) -> float:
    """Phase of one clip of many, in [0, 1), for ``due``: evenly spread, however many there are.

    From its dense first frame on, a stream waits for its first turn. A clip that ends before the
    turns are many would therefore have fewer than its rate; with phases that are spread the rate
    holds in the mean over clips of any length.

    Args:
        index: Of the clip.
    """
    return (0.5 + index * GOLDEN) % 1


def uniform_noise(seed: Tensor, frame: Tensor, block: int, count: int) -> Tensor:
    """Reproducible uniform numbers, one per patch, that depend on nothing but the arguments.

    A counter-based hash instead of a generator: one stream draws the same numbers alone and in a
    batch, on every device, and a copied session goes on as the original would.

    Args:
        seed: One per stream, int64 [s].
        frame: Frames since the stream was reset, int64 [s].
        block: Index of the block that decides.
        count: Number of patches p.

    Returns:
        Uniform on [0, 1), float32 [s, p].
    """
    patch = torch.arange(count, device=seed.device)
    mixed = _mix(_mix(_mix(seed) + frame) + block).unsqueeze(1)  # [s, 1]
    return (_mix(mixed + patch) & 0xFFFFFF).float() / 0x1000000


def _mix(values: Tensor) -> Tensor:
    """A round of integer mixing that keeps 31 bits, so that int64 products never overflow."""
    values = (values ^ (values >> 16)) & 0x7FFFFFFF
    values = (values * 0x45D9F3B + 0x9E3779B9) & 0x7FFFFFFF
    values = (values ^ (values >> 15)) * 0x2C1B3C6D & 0x7FFFFFFF
    return values ^ (values >> 13)
