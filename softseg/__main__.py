"""`python -m softseg` is the `softseg` command."""

from __future__ import annotations

from softseg.cli.main import main

if __name__ == "__main__":  # the processes of an ablation import this module
    main()
