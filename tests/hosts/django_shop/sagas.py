import os

import django

from sagaworker.cli import main

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()
main()
