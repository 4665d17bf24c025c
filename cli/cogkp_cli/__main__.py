"""``python -m cogkp_cli``: the console script, as torchrun starts modules."""

from __future__ import annotations

from cogkp_cli.app import main

if __name__ == "__main__":
    main()
