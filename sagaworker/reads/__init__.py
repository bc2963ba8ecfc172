"""Reading: from the names that people type to a saga, and what they may ask for."""
