"""Linear layers that oneDNN multiplies, with weights laid out for it once.

On a CPU torch hands products in single precision to MKL, which reads plain weights and keeps to
narrow vectors where the processor is not Intel's. oneDNN compiles a kernel for the processor at
hand and reads weights in a layout of its own, which matters most for the few rows that reuse
leaves. It is the same product, rounded differently.
"""

import copy
import math
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

# A layout made for so many rows is as fast for fewer and for more; one made for 1 is not.
TYPICAL_ROWS = 32


class PackedLinear:
    """A linear layer in oneDNN's layout, without gradient; its weight is held a second time.

    Args:
        linear: In single precision, on a CPU.

    Attributes:
        then: "none", or what follows in the same pass: "gelu", exactly or by "tanh".
    """

    def __init__(self, linear: nn.Linear) -> None:
        weight, bias = linear.weight.detach(), linear.bias
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_ROWS)
        self._bias = None if bias is None else bias.detach()
        self._then: tuple[str, list[float], str] = ("none", [], "")
        self._product = torch.ops.mkldnn._linear_pointwise.default

    def then_gelu(self, gelu: nn.GELU) -> "PackedLinear":
        """The same layer followed by GELU in one pass."""
        fused = copy.copy(self)
        fused._then = ("gelu", [], gelu.approximate)
        return fused

    def __call__(self, rows: Tensor) -> Tensor:
        """From [..., inputs] to [..., outputs]."""
        product: Tensor = self._product(rows, self._weight, self._bias, *self._then)
        return product


def _flops(rows: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    """For torch's counter, which does not know the operator; 1 MAC is 2 of them."""
    return 2 * math.prod(rows) * weight[0]


if torch.backends.mkldnn.is_available():
    _OPERATOR = torch.ops.mkldnn._linear_pointwise
    if _OPERATOR not in flop_registry:
        register_flop_formula(_OPERATOR)(_flops)


def may_pack() -> bool:
    """Whether torch has oneDNN, and nobody has switched it off by ``torch.backends.mkldnn``."""
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


# Sessions of one backbone share what is packed of it.
_MADE: WeakKeyDictionary[nn.Linear, tuple[tuple[int, int, int], PackedLinear]] = WeakKeyDictionary()


def pack(linear: nn.Linear) -> PackedLinear | nn.Linear:
    """The layer in oneDNN's layout, or itself where that is not possible.

    It is possible in single precision, on a CPU, if torch was built with oneDNN; not under
    ``torch.backends.mkldnn.flags(enabled=False)``. A weight that has been written to since is
    packed anew, unless by ``.data``, which nobody counts; nor is there a count of writes to one
    made under inference mode, which stays as it is.
    """
    weight, bias = linear.weight, linear.bias
    single = weight.dtype == torch.float32 and weight.is_cpu and not weight.is_inference()
    if not (single and may_pack()):
        return linear
    # Writes to a bias reach the packed layer, which reads the same memory.
    identity = (weight.data_ptr(), weight._version, 0 if bias is None else bias.data_ptr())
    made = _MADE.get(linear)
    if made is None or made[0] != identity:
        made = _MADE[linear] = (identity, PackedLinear(linear))
    return made[1]
