"""`python -m softseg` is the `softseg` command."""

from __future__ import annotations

from softseg.cli import main

main()
