"""Whether modules are still those that something was made from.

It is asked once per frame, so what can change is looked up once and then only read.
"""

from collections.abc import Iterable

from torch import nn


class ModuleWatch:
    """Sees submodules exchanged, weights written to or assigned, hooks and forwards put on.

    Writes through ``.data`` are not seen: torch does not count them.

    Args:
        roots: Modules, watched with all their submodules.
    """

    def __init__(self, roots: Iterable[nn.Module]) -> None:
        modules = [module for root in roots for module in root.modules()]
        self._children = [module._modules for module in modules if module._modules]
        self._weights = [module._parameters for module in modules if module._parameters]
        self._hooks = [
            hooks
            for module in modules
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]
        self._own = [vars(module) for module in modules]
        self._seen = self._look()

    def changed(self) -> bool:
        """Whether anything is other than when the watch began."""
        return self._look() != self._seen

    def _look(self) -> tuple[object, ...]:
        return (
            [list(children.values()) for children in self._children],
            [
                # Of a tensor made under inference mode there is no count of writes.
                (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
                for weights in self._weights
                for weight in weights.values()
                if weight is not None
            ],
            list(map(len, self._hooks)),
            ["forward" in own for own in self._own],
        )
