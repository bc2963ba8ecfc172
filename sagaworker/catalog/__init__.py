"""The declarations in users' code: steps, their modules, and definitions."""
