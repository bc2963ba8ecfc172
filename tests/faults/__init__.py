"""Every fault at every point, one by one and in ordered pairs, against the audit and what happened in the world."""
