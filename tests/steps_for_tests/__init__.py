"""Steps that only tests run: each does one thing a real step should not."""
