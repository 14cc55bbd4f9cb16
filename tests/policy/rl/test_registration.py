"""``import policy`` is all it takes, in whichever order, and it costs nothing by itself."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import gymnasium, policy",
        "import policy, gymnasium",
        "import policy, gymnasium; gymnasium.register_envs(policy)",
    ],
)
def test_the_environment_is_registered_in_either_order(code):
    code += "; spec = gymnasium.spec('regate/TokenReuse-v0'); "
    code += "import sys; assert 'torch' not in sys.modules; print(spec.vector_entry_point)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "policy.rl.vector:TokenReuseVectorEnv\n", done.stderr
    assert done.stderr == ""


def test_importing_policy_alone_imports_nothing_heavy():
    code = "import sys, policy; assert not {'numpy', 'gymnasium', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
