"""A package of steps in which not everything can be imported."""
