# SPDX-License-Identifier: Apache-2.0
"""scripts/tokenize_text.py has the same rule for what JSON is as the program, whose own test has the same table."""

import importlib.util
import tempfile
import unittest
from pathlib import Path

from program import ROOT

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"


def load_script():
    spec = importlib.util.spec_from_file_location("tokenize_text", ROOT / "scripts/tokenize_text.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


class JsonRule(unittest.TestCase):
    def test_the_script_says_of_each_line_what_the_program_says(self):
        script = load_script()
        rows = (ROOT / "tests/data/json_rule.tsv").read_bytes().removesuffix(b"\n").split(b"\n")
        self.assertGreaterEqual(len(rows), 30)
        for row in rows:
            said, line = row.split(b"\t", 1)
            with self.subTest(row=row[:80]):
                if said == b"accepted":
                    self.assertIsInstance(script.text_of_line(line, "row"), str)
                    continue
                with self.assertRaises(script.Failure) as refusal:
                    script.text_of_line(line, "row")
                self.assertIn(said.decode(), str(refusal.exception))

    def test_the_script_names_pointers_of_git_lfs(self):
        script = load_script()
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a.jsonl", "a.json.gz", "a.txt"):
                file = Path(folder) / name
                file.write_text(POINTER)
                with self.assertRaisesRegex(script.Failure, f"{name}: is a Git LFS pointer"):
                    list(script.documents([file]))


if __name__ == "__main__":
    unittest.main()
