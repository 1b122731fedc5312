# SPDX-License-Identifier: Apache-2.0
"""Ranks and their launcher, stopped and killed at the named moments of a run: all end soon, and say which it was."""

import os
import select
import signal
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from program import PROGRAM, ProgramTest, digests, scales, shape_options, start, start_one_by_one

STOP_RANK = Path(os.environ.get("KVCALIB_STOP_RANK_LIBRARY", PROGRAM.parent / "libstop_rank.so")).resolve()
LAYERS = 8
SECONDS_TO_END = 10
AT_ONCE = 4  # runs beside each other: most of their time they wait
BEFORE_DELIVERY = [(moment, rank) for moment in ("start", "meeting", "reading", "reducing") for rank in (0, 1)] + \
    [("delivering", 0)]


def state_of(pid: int) -> str:
    """T stopped, Z ended but not waited for, "" gone: proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def ranks_of(pid: int) -> dict[int, int]:
    """Rank to process of the ranks that a launcher started."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {int(entry[5:]): int(child) for entry in variables if entry.startswith(b"RANK=")}
    return found


class Stops(ProgramTest):
    def setUp(self):
        super().setUp()
        self.ids = self.windows(3, count=4, length=64)

    def arguments(self, weights: Path, devices: str = "cpu:2", output: tuple = ("--in-place",)) -> list:
        return ["calibrate", "--weights", weights, "--data", self.ids, *shape_options(self.ids), "--devices", devices,
                *output, "--quiet"]

    def start_to_moment(self, weights: Path, moment: str, rank: int, output: tuple = ("--in-place",),
                        **variables: str) -> tuple[subprocess.Popen, int]:
        """Two ranks, one of them stopped at a moment, and its process."""
        process = start(*self.arguments(weights, output=output), LD_PRELOAD=str(STOP_RANK),
                        KVCALIB_STOP_RANK=str(rank), KVCALIB_STOP_AT=moment, **variables)
        self.addCleanup(process.kill)
        while process.poll() is None:
            victim = ranks_of(process.pid).get(rank)
            if victim is not None and state_of(victim) == "T":
                return process, victim
            time.sleep(0.005)
        self.fail(f"the run ended before rank {rank} was {moment}: {process.communicate()[1]}")

    def end_of(self, process: subprocess.Popen, ranks: list[int]) -> tuple[int, str, str, float]:
        """Exit code, stdout, stderr and how long it took; none of the ranks is left."""
        begin = time.monotonic()
        out, err = process.communicate(timeout=60)
        took = time.monotonic() - begin
        self.assertEqual([rank for rank in ranks if state_of(rank) not in ("", "Z")], [], "a rank is left")
        return process.returncode, out, err, took

    def assert_whole(self, weights: Path):
        self.assertEqual(len(scales(weights)), 2 * LAYERS)
        self.assertIn("quant_policy = 4", (weights / "config.ini").read_text())

    def each(self, cases: list, run):
        """Runs all cases, some beside each other."""
        def one(case):
            run(self.deep(LAYERS, "-".join(map(str, case))), *case)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for case, done in [(case, pool.submit(one, case)) for case in cases]:
                with self.subTest(case=case):
                    done.result()


class LaunchedRanks(Stops):
    def test_end_the_run_with_their_name_and_change_nothing(self):
        def run(weights: Path, moment: str, rank: int, number: int):
            before = digests(weights)
            process, victim = self.start_to_moment(weights, moment, rank)
            ranks = list(ranks_of(process.pid).values())
            if number != signal.SIGSTOP:
                os.kill(victim, number)
            code, out, err, took = self.end_of(process, ranks)
            self.assertEqual((code, out), (1, ""), err)
            self.assertIn(f"rank {rank} has not been heard of" if number == signal.SIGSTOP
                          else f"rank {rank} was killed by signal 9", err)
            self.assertLess(took, SECONDS_TO_END)
            self.assertEqual(digests(weights), before, "the weights have changed")
        self.each([(*case, number) for number in (signal.SIGSTOP, signal.SIGKILL) for case in BEFORE_DELIVERY], run)

    def test_on_the_way_out_do_not_undo_what_was_delivered(self):
        def run(weights: Path, rank: int, number: int):
            process, victim = self.start_to_moment(weights, "exit", rank)
            ranks = ranks_of(process.pid)
            while rank == 1 and state_of(ranks[0]):
                time.sleep(0.005)
            if number != signal.SIGSTOP:
                os.kill(victim, number)
            code, out, err, took = self.end_of(process, list(ranks.values()))
            self.assertEqual(code, 1 if rank == 0 else 0, err)
            self.assertIn("windows x", out)
            if rank == 0:
                self.assertIn("rank 0 ", err)
                self.assertIn("had delivered", err)
            self.assertLess(took, SECONDS_TO_END)
            self.assert_whole(weights)
        self.each([(rank, number) for rank in (0, 1) for number in (signal.SIGSTOP, signal.SIGKILL)], run)

    def test_rank_0_that_hangs_on_its_way_out_is_ended(self):
        weights = self.deep(LAYERS)
        process, victim = self.start_to_moment(weights, "exit", 0, KVCALIB_STOP_FOR_EVER="1")
        os.kill(victim, signal.SIGCONT)
        code, out, err, _ = self.end_of(process, [victim])
        self.assertEqual(code, 1, err)
        self.assertIn("windows x", out)
        self.assertRegex(err, "rank 0 has not ended within .*; it had delivered")
        self.assert_whole(weights)

    def test_all_end_with_their_launcher(self):
        def run(weights: Path, moment: str, rank: int):
            before = digests(weights)
            process, _ = self.start_to_moment(weights, moment, rank)
            ends = [os.pidfd_open(one) for one in ranks_of(process.pid).values()]
            process.kill()
            process.communicate()
            for end in ends:
                self.assertTrue(select.select([end], [], [], SECONDS_TO_END)[0], "a rank is left")
                os.close(end)
            if moment == "exit":
                self.assert_whole(weights)
            else:  # a working folder may be left for the next run to clear
                after = {name: digest for name, digest in digests(weights).items() if name[0] != "."}
                self.assertEqual(after, before)
        self.each([*BEFORE_DELIVERY, ("exit", 0)], run)

    def test_a_launcher_that_was_stopped_goes_on(self):
        weights = self.deep(LAYERS)
        process, victim = self.start_to_moment(weights, "reading", 1)
        ranks = list(ranks_of(process.pid).values())
        process.send_signal(signal.SIGSTOP)
        os.kill(victim, signal.SIGCONT)
        while any(state_of(rank) != "Z" for rank in ranks):
            time.sleep(0.005)
        process.send_signal(signal.SIGCONT)
        code, out, err, _ = self.end_of(process, ranks)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("windows x", out)
        self.assert_whole(weights)

    def test_signals_to_the_launcher_end_all_and_leave_nothing(self):
        def run(weights: Path, number: int, moment: str, rank: int):
            before = digests(weights)
            process, _ = self.start_to_moment(weights, moment, rank)
            ranks = ranks_of(process.pid)
            process.send_signal(number)
            code, out, err, took = self.end_of(process, list(ranks.values()))
            self.assertEqual((code, out), (-number, ""), err)
            self.assertNotIn("killed by", err)
            self.assertLess(took, SECONDS_TO_END)
            self.assertEqual(digests(weights), before)
        self.each([(signal.SIGTERM, "delivering", 0),
                   *((number, "reading", 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
                                                           signal.SIGQUIT))], run)

    def test_signals_to_the_launcher_leave_nothing_of_a_rank_that_hangs(self):
        def run(weights: Path, option: str):
            place = self.folder / "here" / "scales"
            place.parent.mkdir(exist_ok=True)
            output = (option, place) if option == "--output" else (option,)
            before = digests(weights)
            process, victim = self.start_to_moment(weights, "delivering", 0, output, KVCALIB_STOP_FOR_EVER="1")
            process.send_signal(signal.SIGTERM)
            code, out, err, _ = self.end_of(process, [victim])
            self.assertEqual((code, out, err), (-signal.SIGTERM, "", ""))
            self.assertEqual(digests(weights), before)
            if option == "--output":
                self.assertEqual(os.listdir(place.parent), [])
        self.each([("--in-place",), ("--output",)], run)


class RanksThatNobodyWatchesOver(Stops):
    def test_end_when_the_one_that_they_meet_at_is_stopped(self):
        weights = self.deep(LAYERS)
        before = digests(weights)
        ranks = start_one_by_one(2, *self.arguments(weights, "cpu"), LD_PRELOAD=str(STOP_RANK), KVCALIB_STOP_RANK="0",
                                 KVCALIB_STOP_AT="reading")
        for rank in ranks:
            self.addCleanup(rank.kill)
        while state_of(ranks[0].pid) != "T":
            self.assertIsNone(ranks[0].poll())
            time.sleep(0.005)
        code, out, err, took = self.end_of(ranks[1], [])
        self.assertEqual((code, out), (1, ""), err)
        self.assertIn("does not answer", err)
        self.assertLess(took, SECONDS_TO_END)
        ranks[0].kill()
        ranks[0].communicate()
        after = {name: digest for name, digest in digests(weights).items() if name[0] != "."}
        self.assertEqual(after, before)

    def test_say_soon_which_variables_make_them_wait(self):
        """As they are left over in a shell: nobody has started the others."""
        for rank in (0, 1):
            weights = self.deep(LAYERS, f"workspace-{rank}")
            process = start_one_by_one(2, *self.arguments(weights, "cpu"), only=rank)[0]
            self.addCleanup(process.kill)
            line = process.stderr.readline()
            self.assertIn(f"RANK={rank}, WORLD_SIZE=2 in the environment: rank {rank} of 2, waiting for rank {1 - rank}",
                          line)
            self.assertIn("unset", line)
            process.kill()
            process.communicate()


if __name__ == "__main__":
    unittest.main()
