"""Lets ``python -m policy`` do what the console script ``regate`` does."""

from policy.cli import main

if __name__ == "__main__":
    main()
