"""The pure core: statuses, records, the step contract and the walk. No clock, no randomness, no I/O, no logging."""
