import subprocess
import sys

from django.test.runner import DiscoverRunner

from shop.celery import sagas


class Runner(DiscoverRunner):
    """Makes our tables in the database of the tests as well, which SAGAWORKER_DATABASE_URL names."""

    def setup_databases(self, **options):
        made = super().setup_databases(**options)
        subprocess.run([sys.executable, "-m", "sagaworker", "migrate"], check=True)
        return made

    def teardown_databases(self, made, **options):
        sagas.engine.close()
        super().teardown_databases(made, **options)
