"""Recovery: sweeps take over what dead workers left, under the policy that applies, and ring what waits."""
