"""What a worker needs around its pool: a safe consumer, the polite stop, the witness, the process of an episode."""
