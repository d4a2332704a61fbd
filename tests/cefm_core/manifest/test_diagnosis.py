import pytest

from cefm_core.errors import BadItemError
from cefm_core.manifest.diagnosis import binary_statement, resolve_diagnosis, text_statements
from cefm_core.manifest.vocabulary import CLASSES, normalise_header, normalise_value, vocabulary


def resolve(**columns):
    statements = []
    for column, value in columns.items():
        statements += binary_statement(column, value) if column == "target" else text_statements(column, value)
    return resolve_diagnosis(statements)


@pytest.mark.parametrize(
    ("columns", "diagnosis"),
    [
        ({"dx": "mel"}, "melanoma"),
        ({"diagnosis": "Melanoma"}, "melanoma"),
        ({"diagnosis": "melanoma "}, "melanoma"),
        ({"dx": "nv"}, "nevus"),
        ({"diagnosis": "atypical nevus"}, "nevus"),
        ({"dx": "bkl"}, "other"),
        ({"dx": "akiec"}, "other"),
        ({"diagnosis": "seborrheic_keratosis"}, "other"),
        ({"benign_malignant": "indeterminate"}, "other"),
        ({"diagnosis_1": "Benign", "diagnosis_2": "Benign melanocytic proliferations", "diagnosis_3": "Nevus"}, "nevus"),
        (
            {
                "diagnosis_1": "Malignant",
                "diagnosis_2": "Malignant melanocytic proliferations (Melanoma)",
                "diagnosis_3": "Melanoma in situ",
            },
            "melanoma",
        ),
        ({"iddx_full": "Benign::Benign melanocytic proliferations::Nevus::Nevus, Atypical, Dysplastic, or Clark"}, "nevus"),
        ({"iddx_full": "Malignant::Malignant epidermal proliferations::Squamous cell carcinoma in situ", "target": "1"}, "other"),
        ({"diagnosis": "unknown", "benign_malignant": "malignant", "target": "1"}, "unknown"),
        ({"diagnosis": "melanoma", "benign_malignant": "malignant", "target": "1"}, "melanoma"),
        ({"diagnosis": "", "target": "1"}, "melanoma"),
        ({"diagnosis": "basal cell carcinoma", "target": "0"}, "other"),
    ],
)
def test_columns_of_the_known_tables(columns, diagnosis):
    assert resolve(**columns).diagnosis == diagnosis


@pytest.mark.parametrize("columns", [{}, {"diagnosis": "unknown"}, {"diagnosis": ""}, {"diagnosis": "NA"}])
def test_nothing_said_is_unknown_and_nothing_more(columns):
    found = resolve(**columns)
    assert (found.diagnosis, found.not_melanoma, found.unmapped, found.unspecific) == ("unknown", False, False, False)


@pytest.mark.parametrize(
    "columns", [{"benign_malignant": "benign"}, {"target": "0"}, {"diagnosis": "unknown", "benign_malignant": "benign", "target": "0"}]
)
def test_benign_alone_is_never_taken_for_a_nevus(columns):
    found = resolve(**columns)
    assert found.diagnosis == "unknown"
    assert found.not_melanoma and found.unspecific


def test_malignant_alone_is_not_called_melanoma():
    found = resolve(benign_malignant="malignant")
    assert (found.diagnosis, found.not_melanoma, found.unspecific) == ("unknown", False, True)


@pytest.mark.parametrize(
    "columns",
    [
        {"diagnosis": "melanoma", "benign_malignant": "benign"},
        {"diagnosis": "nevus", "target": "1"},
        {"diagnosis": "melanoma", "target": "0"},
        {"diagnosis_1": "Malignant", "diagnosis_3": "Nevus"},
    ],
)
def test_contradictions_name_both_values(columns):
    with pytest.raises(BadItemError) as caught:
        resolve(**columns)
    assert caught.value.code == "label_conflict"
    assert all(f"{column}={value}" in caught.value.message for column, value in columns.items())


def test_unmapped_value_is_marked_and_no_lone_target_overrides_it():
    found = resolve(diagnosis="moon rash", target="1")
    assert found.diagnosis == "unknown" and found.unmapped


def test_unmapped_detail_does_not_undo_a_clear_parent():
    assert (
        resolve(diagnosis_2="Malignant melanocytic proliferations (Melanoma)", diagnosis_3="Melanoma, of a kind not listed").diagnosis
        == "melanoma"
    )


def test_mapping_is_normalised_and_admits_known_classes_only():
    vocab = vocabulary()
    for value, admits in vocab.admits.items():
        assert value == normalise_value(value)
        assert admits and admits < CLASSES
    for names in vocab.columns.values():
        assert all(name == normalise_header(name) for name in names)
    assert not vocab.missing & vocab.admits.keys()
