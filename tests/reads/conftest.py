from tests.episodes.conftest import engine, settings

__all__ = ["engine", "settings"]
