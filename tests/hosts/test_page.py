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
    assert len(BLOCKS) == 7


def test_commands_that_import_steps_have_django_set_up(open_shop):
    shop = open_shop(DJANGO)
    env = {"SAGAWORKER_DATABASE_URL": shop.database_url, "SAGAWORKER_STEP_PACKAGES": "shop.steps"}
    told = shop.command("sagas.py", "steps", **env)
    assert "shop.steps.reserve" in told
    assert "importable" not in told
    shop.command("sagas.py", "start", "checkout", "shop.steps.reserve", "--input", "order=1", **env)
    assert [run.kind for run in shop.engine.list()] == ["checkout"]
