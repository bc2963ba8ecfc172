"""The worker's parts around its pool: a safe consumer, the polite stop, the witness, the process of an episode."""
