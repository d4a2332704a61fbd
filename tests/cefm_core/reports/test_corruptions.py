"""The checker on made reports: recall by kind of fault, and no false alarm on correct ones."""

import random

from cefm_core.reports.checker_score import main, measure_checker, summary, table
from cefm_core.reports.corruptions import KINDS
from cefm_core.reports.sample_facts import sample_facts
from cefm_core.reports.template_writer import write_report


def test_recall_and_false_alarms_on_a_small_corpus():
    scores = measure_checker(4, seed=11)
    recall, alarms = summary(scores)
    missed = [example for score in scores.values() for example in score.examples if example]
    assert recall >= 0.99, missed
    assert alarms == 0.0, missed
    assert "| wrong number |" in table(scores)
    assert scores["truncated JSON"].total == 4


def test_every_kind_changes_the_report_and_is_repeatable():
    for kind, corrupt in KINDS.items():
        made = []
        for seed in range(40):
            facts = sample_facts(seed)
            report = write_report(facts)
            one, two = (corrupt(facts, report, random.Random(seed)) for _ in range(2))
            assert one == two
            made += [one] if one is not None and one != report else []
        assert len(made) >= 5, kind


def test_the_command_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["corruptions", "--count", "1"])
    main()
    assert "recall" in capsys.readouterr().out
