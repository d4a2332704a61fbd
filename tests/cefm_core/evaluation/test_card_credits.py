import pandas as pd

from cefm_core.evaluation.card_data import data_section
from cefm_core.evaluation.frame import assemble_frame


def test_every_licence_and_credit_stands_in_the_card_with_its_images():
    ids = ["a", "b", "c"]
    manifest = pd.DataFrame(
        {
            "image_id": ids,
            "target": pd.array([1, 0, 0], dtype="Int64"),
            "split": ["train", "val", "val"],
            "source": ["HAM", "HAM", None],
            "group_id": ids,
            "licence": ["CC-BY-NC", "CC-BY-NC", None],
            "attribution": ["ViDIR Group", "ViDIR Group", None],
        }
    )
    card = data_section(assemble_frame(pd.DataFrame({"image_id": ids, "p_melanoma": [0.9, 0.2, 0.1]}), manifest))
    assert "| HAM | CC-BY-NC | ViDIR Group | 2 |" in card
    assert "| not stated | not stated | not stated | 1 |" in card
