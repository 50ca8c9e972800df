"""Adds the imports that a test run says are missing: python3 mend.py "$output"."""

import importlib.util
import re
import sys
from pathlib import Path

MISSING = re.compile(
    r'File "([^"]+)", line \d+, in [^\n]*\n(?:    [^\n]*\n)*NameError: name \'(\w+)\' is not defined'
)


def mend(output: str) -> bool:
    """Mend the first thing that can be; whether there was one."""
    for file, name in MISSING.findall(output):
        if importlib.util.find_spec(name) is not None:
            path = Path(file)
            first_line, rest = path.read_text().split("\n", 1)
            path.write_text(f"{first_line}\n\nimport {name}\n{rest}")
            print(f"{path.name}: import {name}")
            return True
    return False


if __name__ == "__main__":
    sys.exit(0 if mend(sys.argv[1]) else "nothing here that could be mended")
