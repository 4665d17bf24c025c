"""``python -m cogkp_cli``: the console script, as torchrun starts modules."""

from cogkp_cli.app import main

if __name__ == "__main__":
    main()
