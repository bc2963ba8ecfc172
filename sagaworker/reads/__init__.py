"""Reading: find a saga by the names that people type, and check the filters of a list."""
