from tests.recovery.conftest import engine, rung

__all__ = ["engine", "rung"]
