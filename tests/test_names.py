"""No two test files have one name: pytest takes them for one module in a fresh clone."""

import collections
import pathlib


def test_every_test_file_has_a_name_of_its_own():
    names = collections.Counter(path.name for path in pathlib.Path(__file__).parent.rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]
