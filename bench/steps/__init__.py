"""Steps that cost nothing, so that only the work around them is measured."""
