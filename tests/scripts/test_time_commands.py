"""What is run for the commands of the pages: every one is planned, and nothing else is."""

import importlib.util
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).parents[2]


def script():
    spec = importlib.util.spec_from_file_location("time_commands", ROOT / "scripts" / "time_commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_documented_command_is_run_or_says_why_not():
    documented = {command.text for command in script().documented_commands(ROOT)}
    plan = tomllib.loads((ROOT / "scripts" / "documented_commands.toml").read_text())
    assert documented == set(plan)
    assert all(set(planned) in ({"run"}, {"skip"}) for planned in plan.values())


def test_commands_are_found_in_both_kinds_of_blocks(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("```bash\npython a.py   # why\n```\n\n```python\npython = 1\n```\n")
    (tmp_path / "docs" / "b.md").write_text("    python b.py \\\n        --c\n\ntext python d.py\n    python a.py\n")
    found = list(script().documented_commands(tmp_path))
    assert [tuple(command) for command in found] == [("README.md", "python a.py"), ("docs/b.md", "python b.py --c")]


def test_the_table_says_what_was_not_run_and_what_failed():
    module = script()
    commands = [module.Command("README.md", name) for name in ("python a", "python b", "python c")]
    plan = {"python a": {"run": "python a"}, "python b": {"skip": "no time"}, "python c": {"run": "python c --few"}}
    times = {"python c": {"code": 1, "seconds": 3.2, "processor_seconds": 2.6}}
    page = module.table(commands, plan, times)
    assert "| `python a` | the same | not timed yet | |" in page
    assert "| `python b` | not run: no time | | |" in page
    assert "| `python c` | `python c --few` (failed: 1) | 3 | 3 |" in page
