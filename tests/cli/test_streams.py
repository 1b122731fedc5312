# SPDX-License-Identifier: Apache-2.0
"""What a run prints and cannot print, paths of any bytes, and owners that cannot be kept."""

import os
import resource
import subprocess
import tempfile
import unittest
from pathlib import Path

from faults import Fault, Server
from program import PROGRAM, TINY, ProgramTest, digests, environment, scales, shape_options


class StandardOutput(ProgramTest):
    def run_into(self, stdout, *arguments, **options) -> tuple[int, str]:
        done = subprocess.run([str(PROGRAM), *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL, env=environment(), **options)
        return done.returncode, done.stderr

    def commands(self, output: Path) -> list[tuple]:
        """One of each command, that would end with 0."""
        calibrated, ids = self.calibrated(), self.windows(1)
        weights = ("--weights", TINY / "weights")
        shape = shape_options(ids)
        return [("--help",), ("--version",), ("shard", "--help"), ("verify", calibrated), ("inspect", calibrated),
                ("verify", calibrated, "--json"), ("calibrate", "--dry-run", *weights, "--data", ids, *shape),
                ("calibrate", *weights, "--data", ids, *shape, "--quiet", "--devices", "cpu", "--output",
                 output / "calibrate"),
                ("export", "--stats", calibrated / "kv_stats.safetensors", *weights, "--output", output / "export"),
                ("shard", *weights, "--tp", 1, "--quiet", "--output", output / "shard")]

    def test_that_is_full_is_an_error_of_every_command(self):
        for arguments in self.commands(self.folder):
            with self.subTest(arguments=arguments), open("/dev/full", "w") as full:
                code, message = self.run_into(full, *arguments)
                self.assertEqual(code, 1, message)
                self.assertIn("kvcalib: error: stdout: cannot be written: No space left on device", message)
                place = self.folder / arguments[0]
                self.assertEqual(f"{place} holds the new files all the same, whole" in message, place.exists())
        self.assertEqual(scales(self.folder / "export"), scales(self.calibrated()))

    def test_that_is_closed_is_an_error_before_any_work(self):
        for arguments in self.commands(self.folder):
            with self.subTest(arguments=arguments):
                code, message = self.run_into(None, *arguments, preexec_fn=lambda: os.close(1))
                self.assertEqual(code, 1, message)
                self.assertIn("stdout: is closed", message)
        self.assertEqual({entry.name for entry in self.folder.iterdir()}, {"ids-1.npy"})

    def test_whose_reader_has_gone_is_an_error(self):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            code, message = self.run_into(pipe, "--help")
        self.assertEqual((code, message), (1, "kvcalib: error: stdout: cannot be written: Broken pipe\n"))


class StandardError(ProgramTest):
    def test_whose_reader_has_gone_or_that_is_closed_ends_no_run(self):
        arguments = ["export", "--stats", self.calibrated() / "kv_stats.safetensors", "--weights", TINY / "weights",
                     "--runtime", "0.0.14", "--output"]  # which warns
        reader, writer = os.pipe()
        os.close(reader)
        for name, options in (("gone", {"stderr": writer}), ("closed", {"preexec_fn": lambda: os.close(2)})):
            done = subprocess.run([str(PROGRAM), *map(str, arguments), str(self.folder / name)],
                                  stdout=subprocess.PIPE, env=environment(), **options)
            self.assertEqual(done.returncode, 0)
            self.assertEqual(scales(self.folder / name), scales(self.calibrated()))
        os.close(writer)

    def test_names_a_file_that_may_not_grow_instead_of_a_signal(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
        done = subprocess.run([str(PROGRAM), "shard", "--weights", str(TINY / "weights"), "--tp", "1", "--output",
                               str(self.folder / "output")], capture_output=True, text=True, env=environment(),
                              preexec_fn=limit)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot be written: File too large", done.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])


class Paths(ProgramTest):
    def test_may_hold_any_bytes(self):
        folder = self.folder / os.fsdecode(b"na\xffme")
        folder.mkdir()
        weights = self.tiny(folder.name)
        data = folder / os.fsdecode(b"ids\xfe.npy")
        self.windows(1).rename(data)

        def json_of(*arguments):
            done = subprocess.run([str(PROGRAM), *map(str, arguments)], capture_output=True, env=environment())
            self.assertEqual(done.returncode, 0, done.stderr)
            return self.parse_json(done.stdout.decode())
        calibrate = ("calibrate", "--weights", weights, "--data", data, *shape_options(data), "--devices", "cpu",
                     "--quiet", "--json")
        for place, named in ((("--in-place",), "weights"), (("--output", folder / "output"), "output")):
            summary = json_of(*calibrate, *place)
            self.assertEqual(summary["place"], f"{self.folder}/na\\xffme/{named}")
            self.assertEqual(summary["data"][0]["file"], "ids\\xfe.npy")
            written = self.parse_json((folder / named / "summary.json").read_text())
            self.assertEqual(written["place"], summary["place"])
            self.assertEqual(scales(folder / named), scales(self.calibrated()))
        report = json_of("verify", weights, "--json")
        self.assertEqual((report["directory"], report["faults"]), (f"{self.folder}/na\\xffme/weights", []))
        self.assertEqual(json_of("inspect", weights, "--json")["path"], report["directory"])


class Owners(ProgramTest):
    @unittest.skipIf(os.geteuid() != 0, "only root gives files away")
    def test_that_cannot_be_kept_are_a_warning(self):
        weights = self.tiny()
        for entry in weights.iterdir():
            os.chown(entry, 12345, 12345)
        log = Path(tempfile.mkdtemp(dir=self.folder)) / "log"
        server = Server(weights, log)
        self.addCleanup(server.close)
        done = server.run(["export", "--stats", self.calibrated() / "kv_stats.safetensors", "--weights", weights,
                           "--in-place"], Fault("chown", 1, "EINVAL"))
        self.assertTrue(done.reached)
        self.assertEqual(done.code, 0, done.message)
        self.assertIn(f"kvcalib: warning: {weights}/config.ini: the owner 12345:12345 cannot be kept: Invalid argument",
                      done.message)
        self.assertEqual(scales(weights), scales(self.calibrated()))
        self.assertFalse([name for name in digests(weights) if name.startswith(".")])


if __name__ == "__main__":
    unittest.main()
