import pytest

from flows.stage_run import _said
from storage.refs import FileRef
from tasks.row_stage import Plan


@pytest.mark.parametrize(
    ("images", "seconds", "said"),
    [
        (0, 0.0, "0 of 400 images, 100 reused"),
        (100, 50.0, "2 min left: 100 of 400 images, 100 reused, 2.0 images/s"),
        (300, 30.0, "10 s left: 300 of 400 images, 100 reused, 10.0 images/s"),
        (4, 120.0, "3.3 h left: 4 of 400 images, 100 reused, 30.0 s an image"),
        (400, 40.0, "done: 400 of 400 images, 100 reused, 10.0 images/s"),
    ],
)
def test_progress_says_first_how_long_it_will_take(images, seconds, said):
    plan = Plan(stage="assess_images", fingerprint="", expected=FileRef(key="k", sha256="0" * 64), shards=[], images=500, missing=400)
    assert _said(plan, images, seconds) == said
