"""Starts the build of gsplat's CUDA code in a process of its own, and returns at once.

gsplat compiles on first use, for minutes; whoever imports it meanwhile waits for the same build.
"""

import subprocess
import sys


def main() -> None:
    """Starts it; its output is the step's."""
    subprocess.Popen([sys.executable, "-c", "from gsplat.cuda import _backend"], start_new_session=True)


if __name__ == "__main__":
    main()
