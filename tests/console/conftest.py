from tests.cli.conftest import commands, engine, finished, nowhere

__all__ = ["commands", "engine", "finished", "nowhere"]
