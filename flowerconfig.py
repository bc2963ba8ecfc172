"""Flower's configuration when it is started in this folder; what is assigned below the import wins."""

from sagaworker.flower.config import *  # noqa: F403 - a configuration is its names
