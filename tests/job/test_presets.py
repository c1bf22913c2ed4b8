from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth.families.classify import HERE
from deepsynth.job.presets import recommend

PRESETS = """\
- when: {scratch: true, below: 100}
  why: few
  set: {train.epochs: 9}
- when: {scratch: true}
  why: many
  set: {train.epochs: 2, train.batch_size: 4}
"""


def test_the_first_entry_that_fits_is_taken_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "presets.yaml"
    path.write_text(PRESETS)
    (few,) = recommend(path, 99, scratch=True)
    assert (few.key, few.value) == ("train.epochs", 9)
    assert few.why == "about 99 training samples: few"
    assert [r.value for r in recommend(path, 100, scratch=True)] == [2, 4]
    with pytest.raises(ValueError, match="no entry"):
        recommend(path, 1, scratch=False)


@pytest.mark.parametrize("scratch", [True, False])
@pytest.mark.parametrize("samples", [0, 10, 299, 300, 3000, 50_000, 100_000, 10**7])
def test_classify_has_an_answer_for_every_size(samples: int, scratch: bool) -> None:
    found = {r.key for r in recommend(HERE / "presets.yaml", samples, scratch=scratch)}
    assert {"train.epochs", "train.batch_size", "train.learning_rate"} <= found
