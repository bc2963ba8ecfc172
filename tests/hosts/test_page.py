"""The lines of docs/hosts.md are those of the shops that are walked here."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, blocks
from tests.hosts.host import DJANGO, FASTAPI

PAGE = ROOT / "docs" / "hosts.md"
BLOCKS = {block.path: block.text for block in blocks(PAGE) if block.language == "python"}


@pytest.mark.parametrize("path", BLOCKS)
def test_each_piece_of_a_block_stands_in_its_file(path):
    file = next(shop.folder / path for shop in (DJANGO, FASTAPI) if (shop.folder / path).exists())
    code = file.read_text()
    for piece in BLOCKS[path].partition("\n")[2].split("\n...\n"):
        assert piece.strip("\n") in code


def test_every_block_says_which_file_it_is_of():
    assert None not in BLOCKS
    assert len(BLOCKS) == 8


def test_commands_that_import_steps_have_django_set_up(open_shop):
    shop = open_shop(DJANGO)
    told = shop.command("sagas.py", "steps", SAGAWORKER_STEP_PACKAGES="shop.steps")
    assert "shop.steps.reserve" in told
    assert "importable" not in told


def test_the_shops_own_tests_run_on_djangos_database_of_the_tests(open_shop):
    shop = open_shop(DJANGO)
    told = shop.command("manage.py", "test", "--no-input", SAGAWORKER_DATABASE_URL=shop.test_database_url)
    assert "Ran 2 tests" in told
    assert shop.engine.list() == []
