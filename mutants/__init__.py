"""The proof that the tests find faults: each mutant of the protocol as a patch of the real code, and the tests that kill it."""
