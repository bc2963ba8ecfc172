"""A run of sagas under every fault at once, judged by their real effects. See docs/chaos.md."""
