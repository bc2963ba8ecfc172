from tests.acceptance.conftest import stage, stage_settings

__all__ = ["stage", "stage_settings"]
