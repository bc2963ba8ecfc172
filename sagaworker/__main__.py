"""`python -m sagaworker` is the command `sagaworker`."""

from sagaworker.cli import main

if __name__ == "__main__":
    main()
