"""A run of sagas under every fault at once, judged by what really happened. See docs/chaos.md."""
