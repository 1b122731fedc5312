# SPDX-License-Identifier: Apache-2.0
"""scripts/tokenize_text.py has the same rule for what JSON is as the program, whose own test has the same table."""

import importlib.util
import unittest

from program import ROOT


class JsonRule(unittest.TestCase):
    def test_the_script_says_of_each_line_what_the_program_says(self):
        spec = importlib.util.spec_from_file_location("tokenize_text", ROOT / "scripts/tokenize_text.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
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


if __name__ == "__main__":
    unittest.main()
