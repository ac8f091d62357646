"""The scripts import one another by their bare names, as when they are run."""

from __future__ import annotations

import sys

from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
