"""`python -m metering`: the command line."""

from metering.cli import main

if __name__ == "__main__":
    main()
