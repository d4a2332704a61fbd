"""A language model's answers as they come: fenced, thinking, cut, listed, with extra keys."""

import json

import pytest

from cefm_core.reports.parse import FAILURES, parse_reply

GOOD = {
    "quantitative": [{"text": "Asymmetry is severe.", "facts": ["abc.asymmetry_score"]}],
    "visual": [{"text": "No descriptors.", "facts": ["descriptor.1"]}],
    "risk": [{"text": "The probability is 23 %.", "facts": ["model.p_melanoma"]}],
    "quality": [{"text": "No flag.", "facts": ["quality.flags"]}],
}
TEXT = json.dumps(GOOD)


def test_plain_json_becomes_claims():
    reply = parse_reply(TEXT, "stop")
    assert reply.ok and reply.repairs == ()
    assert [claim.section for claim in reply.claims] == ["quantitative", "visual", "risk", "quality"]
    assert reply.claims[2].facts == ("model.p_melanoma",)


@pytest.mark.parametrize(
    ("text", "repair"),
    [
        (f"```json\n{TEXT}\n```", "fence_removed"),
        (f"```\n{TEXT}\n```\n", "fence_removed"),
        (f"<think>The score is {{1}}.</think>\n{TEXT}", "think_removed"),
        (f"some thought\n</think>{TEXT}", "think_removed"),
        (f"\ufeff  {TEXT}  ", None),
        (TEXT.replace("23 %", "23 \\%"), "escape_mended"),
    ],
)
def test_small_faults_are_mended_and_recorded(text, repair):
    reply = parse_reply(text, "stop")
    assert reply.ok and len(reply.claims) == 4
    assert reply.repairs == ((repair,) if repair else ())
    assert "thought" not in str(reply.claims)


@pytest.mark.parametrize(
    ("text", "finish", "code"),
    [
        ("", "stop", "llm_empty"),
        (None, "stop", "llm_empty"),
        (" \n\t" * 500, "stop", "llm_empty"),
        ("<think>only thought</think>", "stop", "llm_empty"),
        ("<think>it never ends " + TEXT, "stop", "llm_reasoning"),
        (TEXT, "length", "llm_cut"),
        (TEXT, "content_filter", "llm_refused"),
        (TEXT[:-40], "stop", "llm_cut"),
        (TEXT.replace('"facts":', '"facts"'), "stop", "llm_not_json"),
        ("Here is the report: the lesion is severe.", "stop", "llm_not_json"),
        (f"[{TEXT}]", "stop", "llm_schema"),
        ('"text"', "stop", "llm_schema"),
        ("null", "stop", "llm_schema"),
        ("NaN", "stop", "llm_not_json"),
        (json.dumps({key: GOOD[key] for key in ("quantitative", "risk")}), "stop", "llm_schema"),
        (json.dumps({**GOOD, "visual": "none"}), "stop", "llm_schema"),
        (json.dumps({key: [] for key in GOOD}), "stop", "llm_schema"),
        ("[" * 5000, "stop", "llm_cut"),
    ],
)
def test_failures_have_their_code(text, finish, code):
    reply = parse_reply(text, finish)
    assert not reply.ok and reply.code == code and reply.claims == ()
    assert reply.message.startswith(FAILURES[code])


def test_extra_keys_are_left_out_and_named():
    data = {**GOOD, "summary": "the lesion is benign", "risk": [{**GOOD["risk"][0], "confidence": 0.9}]}
    reply = parse_reply(json.dumps(data), "stop")
    assert reply.ok and len(reply.claims) == 4
    assert set(reply.repairs) == {"extra_key:summary", "extra_key:confidence"}
    assert "benign" not in str(reply.claims)


@pytest.mark.parametrize(
    "bad", [{"text": 7, "facts": []}, {"text": "x"}, {"text": " ", "facts": []}, {"text": "x", "facts": [1]}, "x", None, []]
)
def test_one_bad_entry_costs_its_siblings_nothing(bad):
    reply = parse_reply(json.dumps({**GOOD, "risk": [bad, *GOOD["risk"]]}), "stop")
    assert reply.ok and len(reply.claims) == 4
    assert reply.repairs == ("entry_dropped:risk",)
