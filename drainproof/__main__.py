"""Lets ``python -m drainproof`` be the same door as ``drainproof``."""

from drainproof.cli import main

if __name__ == "__main__":
    main()
