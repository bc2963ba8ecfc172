"""Steps that cost nothing, so that what is measured is everything around them."""
