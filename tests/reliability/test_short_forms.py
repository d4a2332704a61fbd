"""Each fault command in its short form; the long forms write docs/reliability.md."""

import pytest

from tests.flows.services import has_postgres
from tests.reliability import changes, databases, hostile_images, kills, races, replies, same_bytes, slots, store_faults


@pytest.mark.flow
def test_changes_are_noticed_and_nothing_is_done_twice():
    assert changes.find(seed=3, count=4).failures == []


def test_nothing_is_lost_when_answers_never_come():
    assert replies.find(seed=2, count=20).failures == []


def test_of_many_publishers_one_wins_and_no_reader_sees_half_an_object():
    assert races.find(seed=2, count=2).failures == []


def test_a_store_that_fails_gives_no_wrong_result_without_a_word():
    assert store_faults.find(seed=2, count=1).failures == []


def test_hostile_images_crash_nothing_and_none_is_lost():
    assert hostile_images.find(seed=2, count=60).failures == []


@pytest.mark.flow
def test_after_a_kill_the_same_command_leaves_the_same_store():
    assert kills.find(seed=2, count=5).failures == []


@pytest.mark.flow
def test_another_number_of_workers_gives_the_same_bytes():
    assert same_bytes.find(seed=2, count=1).failures == []


@pytest.mark.flow
def test_a_killed_holder_gives_its_slot_back():
    assert slots.find(seed=2, count=1).failures == []


@pytest.mark.flow
@pytest.mark.skipif(not has_postgres(), reason="no PostgreSQL server is installed")
def test_four_runs_at_once_finish_also_when_the_database_goes_away():
    assert databases.find(seed=2, count=2).failures == []
