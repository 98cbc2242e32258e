"""The seed is the same everywhere and consistent in itself."""

from __future__ import annotations

import subprocess
import sys

from services.cruddur import seed


def test_handles_and_uuids_are_unique_and_a_few_hundred() -> None:
    assert len(set(seed.handles())) == seed.USERS == len(seed.handles())
    assert len(set(seed.activity_uuids())) == seed.ACTIVITIES == len(seed.activity_uuids())
    assert len({activity.uuid for activity in seed.activities()}) == seed.ACTIVITIES + seed.REPLIES


def test_every_reference_points_at_something_seeded_before() -> None:
    handles = set(seed.handles())
    seen: set[str] = set()
    for activity in seed.activities():
        assert activity.handle in handles
        assert activity.reply_to is None or activity.reply_to in seen
        seen.add(activity.uuid)
    for message in seed.messages():
        assert {message.sender, message.receiver} <= handles
        assert message.sender != message.receiver


def test_ids_do_not_change_between_versions() -> None:
    """A ledger of an old run names these; changing them silently would break its comparison."""
    assert seed.handles()[:2] == ["ada.abbott", "alan.abbott"]
    assert seed.activity_uuids()[0] == "09e3bb1f-e342-505f-b0b7-740c47d07306"


def test_the_load_generator_can_import_it_without_the_application() -> None:
    code = "import sys; import services.cruddur.seed, services.cruddur.signals; sys.exit(bool({'flask', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
