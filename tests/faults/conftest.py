from tests.celery.conftest import stage, stage_settings

__all__ = ["stage", "stage_settings"]
