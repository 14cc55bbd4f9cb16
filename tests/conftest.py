"""What every test shares: no network, no windows, one place to find the optional assets."""

import os
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

# Before any library reads them: a test that reaches for the network is a mistake, and a hub
# client would retry for a minute instead of saying so.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
if not Path("/dev/nvidiactl").exists():  # no GPU that Triton could compile for
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items):
    """Skip, rather than fail, what needs a device that this machine does not have."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _caches_stay_in_tmp(monkeypatch, tmp_path_factory):
    """A user's model cache must neither help a test to pass nor be filled by one."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("HF_HOME", str(cache / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(cache / "torch"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def docs_script() -> Callable[[str], ModuleType]:
    """A script of the docs folder, by its name without .py, as a module."""

    def load(name: str) -> ModuleType:
        spec = spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def assets() -> Path:
    """Folder with the optional real videos and weights; see data/README.md.

    Found through the environment variable REGATE_ASSETS, else beside the repository.
    """
    folder = Path(os.environ.get("REGATE_ASSETS", ROOT.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"no assets at {folder}; point REGATE_ASSETS at them to run this test")
    return folder
