"""What the code declares: steps, the modules they come from, and definitions."""
