"""BERTScore by its definition, on a tiny model with random weights: real code, meaningless words."""

import numpy as np
import pytest

from cefm_core.errors import ConfigurationError
from cefm_core.reports.bert_score import BertScorer
from cefm_core.reports.sample_facts import sample_facts
from cefm_core.reports.template_writer import write_report
from cefm_core.reports.writer_score import Trial, score_writer

transformers = pytest.importorskip("transformers", reason="the extra `bertscore` is not installed")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "lesion", "is", "symmetric", "asymmetric", "."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    path = tmp_path_factory.mktemp("bert")
    (path / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
    )
    transformers.BertModel(config).save_pretrained(path)
    transformers.BertTokenizer(vocab=str(path / "vocab.txt")).save_pretrained(path)
    return path


def test_it_is_the_greedy_match_of_token_vectors(folder):
    scorer = BertScorer.load(folder)
    first, second = "the lesion is symmetric .", "the lesion is asymmetric"
    assert scorer.f1(first, first) == pytest.approx(1.0, abs=1e-5)
    ours, theirs = scorer._embed(first), scorer._embed(second)
    assert (len(ours), len(theirs)) == (5, 4), "marks of beginning and end are left out"
    cosines = np.array([[float(a @ b) for b in theirs] for a in ours])
    precision, recall = cosines.max(1).mean(), cosines.max(0).mean()
    assert scorer.f1(first, second) == pytest.approx(2 * precision * recall / (precision + recall))
    assert scorer.f1(first, second) < 1 and scorer.f1("", first) == 0.0
    assert scorer.f1("lesion " * 500, "lesion " * 500) == pytest.approx(1.0, abs=1e-5), "cut to what the model can read"


def test_the_template_scores_one_against_itself_and_nothing_is_scored_unasked(folder):
    ledgers = [sample_facts(seed) for seed in range(3)]
    trials = [Trial(ledger, ledger, write_report(ledger)) for ledger in ledgers]
    assert score_writer("template", "full", trials).bert_score is None
    assert score_writer("template", "full", trials, bert=BertScorer.load(folder)).bert_score.value == pytest.approx(1.0, abs=1e-5)


def test_a_folder_without_a_model_or_with_a_pickle_is_refused(folder, tmp_path):
    with pytest.raises(ConfigurationError, match="holds no model"):
        BertScorer.load(tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigurationError, match="safetensors"):
        BertScorer.load(tmp_path)
