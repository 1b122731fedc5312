# SPDX-License-Identifier: Apache-2.0
"""Host memory: what a run needs is told beforehand and true, and what is not there is refused or an error."""

import json
import re
import resource
import subprocess
import unittest

from program import PROGRAM, TINY, ProgramTest, Run, digests, environment, kvcalib

LENGTH, HIDDEN, FLOAT_BYTES = 512, 256, 4


def machine_bytes() -> int:
    with open("/proc/meminfo") as file:
        return 1024 * int(re.search(r"MemTotal:\s*(\d+)", file.read())[1])


class HostMemory(ProgramTest):
    def setUp(self):
        super().setUp()
        self.weights = self.tiny()
        self.before = digests(self.folder)

    def arguments(self, *more, data=TINY / "text.jsonl") -> list:
        return ["calibrate", "--weights", self.weights, "--data", data, "--length", LENGTH, *more]

    def assert_refused(self, run, code: int, *words: str):
        self.assertEqual((run.code, run.out), (code, ""), run.err)
        for word in words:
            self.assertIn(word, run.err)
        self.assertEqual(digests(self.folder), self.before, "something was left")

    def test_that_is_not_there_is_refused_before_any_work(self):
        samples = machine_bytes() // (LENGTH * HIDDEN * FLOAT_BYTES) + 1
        for devices, words in (("cpu", ["are needed (two layers"]), ("cpu:2", ["each of 2 ranks", "fewer ranks"])):
            with self.subTest(devices=devices):
                self.assert_refused(kvcalib(*self.arguments("--in-place", "--samples", samples, "--devices", devices)),
                                    1, "host memory: ", "are free", "fewer --samples", "--micro-batch", *words)

    def test_no_number_is_too_large_to_be_refused(self):
        most = 2**63 - 1
        for code, options in ((1, ("--samples", most)), (1, ("--samples", 2**62)), (1, ("--length", most)),
                              (1, ("--samples", 2**33, "--length", 2**31)), (2, ("--micro-batch", most)),
                              (2, ("--micro-batch", 2**62)), (1, ("--serving-tp", most)), (2, ("--devices", f"cpu:{most}")),
                              (2, ("--samples", 2**64)), (2, ("--length", 0))):
            for place in ("--in-place", "--dry-run"):
                with self.subTest(options=options, place=place):
                    run = kvcalib(*self.arguments("--devices", "cpu", *options, place))
                    self.assert_refused(run, code, "error: --" if code == 1 else options[0])

    def test_an_allocation_that_fails_is_an_error_and_leaves_nothing(self):
        """Address space stands for memory: of so much the program alone takes a part."""
        limit = 3_500_000_000
        samples = limit // (LENGTH * HIDDEN * FLOAT_BYTES)
        if machine_bytes() < 2 * limit:
            self.skipTest("this machine has too little memory to run out of less")

        def restrict():
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        ids = self.windows(1, count=samples, length=LENGTH)
        self.before = digests(self.folder)
        arguments = self.arguments("--in-place", "--samples", samples, "--devices", "cpu", data=ids)
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                              env=environment(), preexec_fn=restrict)
        self.assert_refused(Run(done.returncode, done.stdout, done.stderr), 1, "out of memory", "fewer --samples")

    def test_what_the_plan_says_is_what_a_run_takes(self):
        ids = self.windows(1, count=600, length=LENGTH)

        def told_and_taken(samples: int, batch: int) -> tuple[int, int]:
            options = self.arguments("--samples", samples, "--micro-batch", batch, "--devices", "cpu", "--json", "--quiet",
                                     data=ids)
            plan = json.loads(self.succeed(*options, "--dry-run").out)
            run = json.loads(self.succeed(*options, "--output", self.folder / f"of-{samples}-{batch}").out)
            return plan["memory_bytes_per_device"], run["cost"]["peak_host_bytes"]
        small = told_and_taken(2, LENGTH)
        for samples, batch in ((600, LENGTH), (40, 40 * LENGTH)):
            told, taken = (more - less for more, less in zip(told_and_taken(samples, batch), small))
            self.assertLess(abs(told - taken), 0.1 * told, f"{told} bytes more are told, {taken} taken")


if __name__ == "__main__":
    unittest.main()
