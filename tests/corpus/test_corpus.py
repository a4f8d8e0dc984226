"""Every reader against files that are damaged, foreign, hostile or no files.

    python -m pytest tests/corpus -m slow -s           every fourth case, with counts per reader
    python -m pytest tests/corpus -m long -s           all of them

`worker.py READER --only WORDS` runs the cases of one name again.
"""

import collections
import json
import pathlib
import subprocess
import sys

import pytest
from table import READERS

WORKER = pathlib.Path(__file__).with_name("worker.py")
REFUSED = ("user", "data")
GOOD = (*REFUSED, "read", "equal")


def outcomes(*names, share=1):
    """Runs the cases of some readers in one worker and returns what came of each."""
    command = [sys.executable, str(WORKER), *names, "--share", str(share)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found, capsys):
    """Prints the counts, and holds every outcome against what is allowed."""
    counts = collections.defaultdict(collections.Counter)
    for case in found:
        counts[case["reader"]][case["kind"]] += 1
    with capsys.disabled():
        for reader, kinds in counts.items():
            said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            most = max(case["MB"] for case in found if case["reader"] == reader)
            print(f"\n{reader}: {sum(kinds.values())} cases: {said}; at most {most} MB", end="")
    bad = [case for case in found if case["kind"] not in GOOD]
    bad += [case for case in found if case["kind"] in REFUSED and not is_one_line(case["text"])]
    assert not bad, json.dumps(bad[:20], indent=1)
    whole = {case["reader"] for case in found if case["case"].endswith(", whole") and case["kind"] in ("read", "equal")}
    assert whole == counts.keys(), f"a valid file was refused: {counts.keys() - whole}"


def is_one_line(text):
    return 0 < len(text) <= 2000 and text.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_every_fourth_case(name, capsys):
    check(outcomes(name, share=4), capsys)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_all_cases(name, capsys):
    check(outcomes(name), capsys)
