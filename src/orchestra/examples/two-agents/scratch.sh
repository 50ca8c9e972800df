#!/bin/sh
# Makes a scratch repository `calculator` and an `orchestra.yaml` that names it, in the current folder.
set -eu
mkdir calculator
cd calculator
git init -q -b main
printf 'def add(a, b):\n    return a + b\n' > calc.py
printf '%s\n' 'import unittest' 'import calc' '' 'class Add(unittest.TestCase):' \
    '    def test_add(self):' '        self.assertEqual(calc.add(2, 3), 5)' > test_add.py
printf '__pycache__/\n' > .gitignore
git add -A
git -c user.name=You -c user.email=you@example.org commit -q -m 'Add a calculator'
cd ..
printf 'workspace:\n  repos:\n    calculator:\n      path: calculator\n' > orchestra.yaml
