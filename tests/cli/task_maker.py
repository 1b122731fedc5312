# SPDX-License-Identifier: Apache-2.0
"""Runs scripts/make_tasks.py on data sets of a test's own."""

import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from program import ROOT, environment

SCRIPT = ROOT / "scripts/make_tasks.py"


def jsonl(*entries: dict) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


class TaskTest(unittest.TestCase):
    """A test with a folder for data sets and one for the task files made of them."""

    maxDiff = 2000

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.data, self.output = self.folder / "data", self.folder / "tasks"
        self.data.mkdir()

    def save(self, name: str, content: str | bytes) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run_script(self, *arguments, data: Path | None = None) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, str(SCRIPT), "--data", str(data or self.data), "--output",
                               str(self.output), *map(str, arguments)], capture_output=True, text=True,
                              env=environment(), timeout=300)

    def made(self, task: str, *arguments, **options) -> list[dict]:
        """The header and the items of one row."""
        run = self.run_script("--task", task, "--force", *arguments, **options)
        self.assertEqual(run.returncode, 0, run.stderr)
        return [json.loads(line) for line in self.read(task)]

    def read(self, task: str) -> list[str]:
        text = (self.output / f"{task}.jsonl").read_text(encoding="utf-8")
        self.assertTrue(text.endswith("\n"))
        return text[:-1].split("\n")

    def assert_items(self, task: str, *expected: dict, header: dict | None = None):
        found, *items = self.made(task)
        self.assertEqual(items, [{"id": str(number)} | item for number, item in enumerate(expected)])
        for name, value in ({"format": "kvcalib-task", "version": 1, "task": task, "metric": "accuracy",
                             "rule": "ppl"} | (header or {})).items():
            self.assertEqual(found.get(name), value, name)
        self.assertTrue(found["follows"].startswith("OpenCompass "), found)
        if "labels" in found:
            self.assertEqual({len(item["texts"]) for item in items}, {len(found["labels"])})

    def assert_refused(self, code: int, *words: str, arguments=(), data: Path | None = None):
        run = self.run_script(*arguments, data=data)
        self.assertEqual(run.returncode, code, run.stdout + run.stderr)
        for word in ("error", *words):
            self.assertIn(word, run.stderr)
        self.assertNotIn("Traceback", run.stderr)
