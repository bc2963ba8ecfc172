"""Recovery: sweeps take over the sagas of dead workers, each under its policy, and ring sagas that wait for a worker."""
