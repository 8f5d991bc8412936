from __future__ import annotations

from collections import Counter

import pytest

from . import MUTANTS
from .mutant import ROOT, Mutant
from .proof_bugs import BUGS, Bug


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_bug_can_still_be_planted(mutant: Mutant) -> None:
    assert mutant.occurrences() == 1
    assert mutant.new != mutant.old
    assert all((ROOT / test.split("::")[0]).exists() for test in mutant.tests)


def test_every_bug_has_a_name_of_its_own() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_for_the_proofs_can_still_be_planted(bug: Bug) -> None:
    assert bug.fits(ROOT)
    assert all(edit.old != edit.new for edit in bug.edits)
