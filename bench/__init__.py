"""The benchmark: `python -m bench`. README.md in this folder says how each figure is made."""
