"""Does not load."""

raise RuntimeError("this module must not be imported before it is asked for")
