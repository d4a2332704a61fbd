"""Each fault command in its short form; the long forms write docs/reliability.md."""

import pytest

from tests.reliability import changes, races, replies


@pytest.mark.flow
def test_changes_are_noticed_and_nothing_is_done_twice():
    assert changes.find(seed=3, count=4).failures == []


def test_nothing_is_lost_when_answers_never_come():
    assert replies.find(seed=2, count=20).failures == []


def test_of_many_publishers_one_wins_and_no_reader_sees_half_an_object():
    assert races.find(seed=2, count=2).failures == []
