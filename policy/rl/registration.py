"""``import policy`` registers the environment, and costs nothing where gymnasium is not used.

The command line prints its help without numpy, which gymnasium imports. So registration waits
until gymnasium is imported, by whoever wants it, before or after ``policy``.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ENVIRONMENT = "regate/TokenReuse-v0"


def register_environment() -> None:
    """Register now if gymnasium is there already, else as soon as it is."""
    if "gymnasium" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Waiting())


def _register() -> None:
    from gymnasium.envs.registration import register, registry

    if ENVIRONMENT not in registry:
        register(
            id=ENVIRONMENT,
            entry_point="policy.rl.environment:TokenReuseEnv",
            vector_entry_point="policy.rl.vector:TokenReuseVectorEnv",
        )


class _Waiting(MetaPathFinder):
    """Finds nothing itself; has one import of gymnasium end with the registration."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_register(module: ModuleType) -> None:
            run(module)
            _register()

        spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec
