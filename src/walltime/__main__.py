"""``python -m walltime``: the command line where its script is not on the path."""

from walltime.cli import main

if __name__ == "__main__":
    main()
