"""The steps of the chaos run: they act on a world that outlives them, and say when they are inside."""
