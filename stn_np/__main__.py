"""``python -m stn_np`` does what ``stn-np`` does."""

from __future__ import annotations

import sys

from stn_np.cli import main

sys.exit(main())
