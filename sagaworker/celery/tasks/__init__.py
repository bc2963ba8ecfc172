"""The tasks of the contract, and what a message for one of them may and may not do."""
