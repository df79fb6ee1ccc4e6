"""A network in a user's own file: what goes wrong in it is one line that names the line."""

import pytest

from convlens.base.errors import InputError
from convlens.models.build import build


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("import sys\nsys.exit(0)\n", 2, "SystemExit"),
        ("x = 1\n\nraise ValueError('a\\nb')\n", 3, "ValueError: a b"),
        ("import no_such_module_here\n", 1, "ModuleNotFoundError"),
        ("def Net(:\n", 1, "SyntaxError"),
        ("def Net():\n    return helper()\ndef helper():\n    return {}['key']\n", 4, "KeyError: 'key'"),
        ("import json\ndef Net():\n    return json.loads('{')\n", 3, "JSONDecodeError"),
        ("def Net():\n    raise SystemExit\n", 2, "SystemExit"),
        ("def Net():\n    raise RuntimeError\n", 2, "RuntimeError"),
    ],
)
def test_what_goes_wrong_in_a_users_file_is_one_line_that_names_the_line(tmp_path, text, line, word):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        build(f"{path}:Net")
    assert f"(line {line} of {path})" in str(refused.value)
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)
