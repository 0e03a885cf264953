"""``python -m stn_np`` does what ``stn-np`` does."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line. Ctrl-C while it is still being imported is a Ctrl-C like any other."""
    try:
        from stn_np.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("\nstn-np: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
