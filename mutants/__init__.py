"""The proof that the tests bite: every mutant of the protocol as a patch of the real code, and the tests that kill it."""
