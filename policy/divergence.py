"""The distance that everything here is judged by."""

import torch.nn.functional as F
from torch import Tensor


def kl_to_dense(dense: Tensor, gated: Tensor) -> Tensor:
    """KL(dense ‖ gated) of the class distributions in nats, for logits [..., k] → [...]."""
    reference, other = dense.log_softmax(-1), gated.log_softmax(-1)
    divergence: Tensor = F.kl_div(other, reference, reduction="none", log_target=True).sum(-1)
    return divergence.clamp_min(0)
