"""`python -m convlens` is the command `convlens`, for an environment whose commands are not on the path."""

from convlens.cli import run

if __name__ == "__main__":
    run()
