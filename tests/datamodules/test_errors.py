import subprocess
import sys


def test_errors_can_be_imported_without_torch(root):
    code = "import sys, datamodules.errors; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
