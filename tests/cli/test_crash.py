# SPDX-License-Identifier: Apache-2.0
"""Killed runs: config.ini never says int8 beside an incomplete or mixed set of scales, and ranks fall together."""

import os
import re
import select
import shutil
import signal
import subprocess
import unittest
from pathlib import Path

from program import (TINY, ProgramTest, config_values, digests, scales, shape_options, start,
                     start_one_by_one, start_stepped, stops)

KILLS = 40
FRESH_STARTS = 5  # how often the directory is made new, without scales
STRIDE = 47  # between the steps at which runs are killed, one after the other: coprime to any number that they may have


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    return sorted(int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                  for child in (task / "children").read_text().split())


class SteppedRuns(ProgramTest):
    def run_and_look(self, folder: Path, arguments: list, look) -> int:
        """A whole run; `look` sees each state of the folder that a kill could leave. Returns how many there were."""
        process, number = start_stepped(folder, *arguments), 0
        for number in stops(process):
            look()
        _, message = process.communicate()
        self.assertEqual(process.returncode, 0, message)
        self.assertGreater(number, 30, "a run that writes a set of scales takes more steps")
        return number

    def kill_at(self, step: int, folder: Path, arguments: list) -> bool:
        """A run that is killed at its step of that number; False when it has come to its end before."""
        process = start_stepped(folder, *arguments)
        for number in stops(process):
            if number == step:
                process.kill()
        _, message = process.communicate()
        self.assertIn(process.returncode, (0, -signal.SIGKILL), message)
        return process.returncode != 0


class KilledInPlaceRuns(SteppedRuns):
    def arguments(self, weights: Path, data: Path) -> list:
        return ["calibrate", "--weights", weights, "--data", data, *shape_options(data), "--in-place", "--force",
                "--devices", "cpu", "--quiet"]

    def assert_whole(self, weights: Path, sets: dict[str, dict[str, bytes]], forced: str | None) -> str | None:
        """Which set is in force: None before the first. It never goes back to none."""
        policy = config_values(weights)["quant_policy"]
        if policy == "0":
            self.assertIsNone(forced, "the set that was in force no longer is")
            return None
        self.assertEqual(policy, "4")
        found = scales(weights)
        names = [name for name, expected in sets.items() if found == expected]
        self.assertEqual(len(names), 1, "the scale files are none of the complete sets")
        return names[0]

    def test_leave_one_complete_set_in_force(self):
        data = {name: self.windows(seed, count=2, length=64) for name, seed in (("one", 1), ("two", 2))}
        sets, steps = {}, []
        for name, ids in data.items():
            weights = self.tiny(f"complete-{name}")
            self.succeed(*self.arguments(weights, ids))
            sets[name] = scales(weights)
        self.assertEqual(len(sets["one"]), 8)
        self.assertNotEqual(sets["one"], sets["two"])
        clean = set(digests(self.folder / "complete-one/weights"))
        untouched = {name: digest for name, digest in digests(TINY / "weights").items() if name != "config.ini"}

        # What a reader finds at each step, of a first run and of one that replaces a set.
        weights, forced = self.tiny("watched"), None

        def look():
            nonlocal forced
            before, forced = forced, self.assert_whole(weights, sets, forced)
            self.assertIn(forced, (before, name), "another set is in force")
        for name, ids in data.items():
            steps.append(self.run_and_look(weights, self.arguments(weights, ids), look))
            self.assertEqual(forced, name)

        killed, attempt = 0, 0
        while killed < KILLS:
            self.assertLess(attempt, 2 * KILLS, f"only {killed} runs were still there to be killed")
            if attempt % (KILLS // FRESH_STARTS) == 0:
                weights, forced = self.tiny(f"victim-{attempt}"), None
            name = ("one", "two")[attempt % 2]
            # Each finds what the one before has left, and clears it: this is also that its lock died with it.
            killed += self.kill_at(1 + attempt * STRIDE % min(steps), weights, self.arguments(weights, data[name]))
            before, forced = forced, self.assert_whole(weights, sets, forced)
            self.assertIn(forced, (before, name), f"attempt {attempt} put another set in force")
            now = digests(weights)
            self.assertEqual({key: now.get(key) for key in untouched}, untouched, "weights have changed")
            attempt += 1

        self.succeed(*self.arguments(weights, data["one"]))
        self.assertEqual(scales(weights), sets["one"])
        left = {entry.name for entry in weights.iterdir()}
        self.assertFalse([name for name in left if name.startswith(".")], "a killed run's folder is left")
        backups = {name for name in left if name.startswith("config.ini.")}
        self.assertEqual(left - backups, clean - {name for name in clean if name.startswith("config.ini.")})
        self.assertFalse([entry for entry in weights.iterdir() if entry.is_symlink()])
        self.succeed("verify", weights)


class KilledRunsIntoADirectory(SteppedRuns):
    def test_leave_it_whole_or_absent(self):
        sets, output = [], self.folder / "output"
        data = [self.windows(seed, count=2, length=64) for seed in (1, 2)]

        def arguments(ids: Path, *more) -> list:
            return ["calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids), "--devices", "cpu",
                    "--quiet", "--output", output, "--force"]

        def look():
            if output.exists():
                self.assertTrue((output / "summary.json").exists())
                self.assertIn(scales(output), sets)
            else:
                self.assertFalse(whole_before, "the earlier set has gone")
        for ids in data:
            self.succeed(*arguments(ids))
            sets.append(scales(output))
            shutil.rmtree(output)
        for ids in data:
            whole_before = output.exists()
            steps = self.run_and_look(self.folder, arguments(ids), look)
            self.assertEqual(scales(output), sets[data.index(ids)])
        for attempt in range(10):
            whole_before = output.exists()
            self.kill_at(1 + attempt * STRIDE % steps, self.folder, arguments(data[attempt % 2]))
            look()
            if attempt % 3 == 2:
                shutil.rmtree(output, ignore_errors=True)
        self.succeed(*arguments(data[0]))
        self.assertEqual(scales(output), sets[0])
        self.assertEqual({entry.name for entry in self.folder.iterdir()}, {"output", *(ids.name for ids in data)},
                         "something is left")


class KilledRanks(ProgramTest):
    """A model of so many layers that the others are far from their end when the first is done."""

    LAYERS = 64

    def arguments(self, weights: Path, devices: str, *place) -> list:
        ids = self.windows(3, count=16, length=512)
        return ["calibrate", "--weights", weights, "--data", ids, *shape_options(ids), "--devices", devices, *place]

    def start_ranks(self, arguments: list) -> tuple[subprocess.Popen, list[int]]:
        """Two ranks that compute, and the process that watches over them."""
        process = start(*arguments)
        self.addCleanup(process.kill)
        self.await_first_layer(process)
        ranks = children(process.pid)
        self.assertEqual(len(ranks), 2, "one process per rank")
        return process, ranks

    def await_first_layer(self, process: subprocess.Popen):
        """Reads the progress of a run until it computes."""
        told = ""
        while line := process.stderr.readline():
            if line.startswith("layer 1 "):
                return
            told += line
        self.fail(f"the run ended before its first layer: {told}")

    def test_end_the_run_with_their_name_and_without_a_file(self):
        for which in (0, 1):
            for place in (["--output", self.folder / "output"], ["--in-place"]):
                with self.subTest(which=which, place=place[0]):
                    weights = self.deep(self.LAYERS, f"workspace-{which}-{len(place)}")
                    before = digests(weights)
                    process, ranks = self.start_ranks(self.arguments(weights, "cpu:2", *place))
                    os.kill(ranks[which], signal.SIGKILL)
                    out, err = process.communicate()
                    self.assertEqual((process.returncode, out), (1, ""), err)
                    self.assertRegex(err, re.compile(rf"rank {which}\b"))
                    self.assertFalse((self.folder / "output").exists())
                    # A rank that is stopped may leave its working folder for the next run to clear, nothing else.
                    after = {name: digest for name, digest in digests(weights).items() if name[0] != "."}
                    self.assertEqual(after, before)

    def test_that_are_stopped_end_the_run(self):
        output = self.folder / "output"
        process, ranks = self.start_ranks(self.arguments(self.deep(self.LAYERS), "cpu:2", "--output", output))
        os.kill(ranks[1], signal.SIGSTOP)
        out, err = process.communicate()
        self.assertEqual((process.returncode, out), (1, ""), err)
        self.assertIn("rank 1 has not been heard of", err)
        self.assertFalse(output.exists())

    def test_end_the_others_when_nobody_watches_over_them(self):
        """Ranks that are started one by one must notice by themselves."""
        cases = []
        for which, words in ((0, "rank 0"), (1, "rank 1 has not been heard of")):
            folder = self.folder / f"without-{which}"
            folder.mkdir()
            ranks = start_one_by_one(2, *self.arguments(self.deep(self.LAYERS, f"workspace-{which}"), "cpu", "--output",
                                                        folder / "output"))
            for rank in ranks:
                self.addCleanup(rank.kill)
            self.await_first_layer(ranks[0])
            ranks[which].kill()
            cases.append((which, words, folder, ranks))
        for which, words, folder, ranks in cases:
            with self.subTest(which=which):
                out, err = ranks[1 - which].communicate()
                ranks[which].communicate()
                self.assertEqual((ranks[1 - which].returncode, out), (1, ""), err)
                self.assertIn(f"rank {1 - which}: error: ", err)
                self.assertIn(words, err)
                self.assertFalse((folder / "output").exists())
                if which == 1:
                    self.assertEqual(list(folder.iterdir()), [], "something is left")

    def test_all_end_when_the_launcher_is_killed(self):
        output = self.folder / "output"
        process, ranks = self.start_ranks(self.arguments(self.deep(self.LAYERS), "cpu:2", "--output", output))
        ends = [os.pidfd_open(rank) for rank in ranks]
        process.kill()
        for end in ends:
            select.select([end], [], [])  # readable once the process has ended
            os.close(end)
        process.communicate()
        self.assertFalse(output.exists())


if __name__ == "__main__":
    unittest.main()
