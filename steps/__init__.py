"""The steps shipped with the project: examples to copy, and the domain the demo runs."""
