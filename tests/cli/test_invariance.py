# SPDX-License-Identifier: Apache-2.0
"""What the result must not depend on: ranks, sharding, micro-batches, who starts the ranks, the order of windows."""

import unittest

import numpy as np

from program import TINY, ProgramTest, scales, shape_options, start_one_by_one, statistics
from reference.calibration import RANGE_NAMES
from reference.models import random_model


class Invariance(ProgramTest):
    def assert_same(self, one, other):
        self.assert_same_statistics(one, other)
        self.assertEqual(scales(one), scales(other))
        self.assertTrue(scales(one))

    def test_number_of_ranks(self):
        ids = self.windows(1, count=7, length=96)
        one = self.calibrate(TINY / "weights", ids, name="one")
        for ranks in (1, 2, 4):
            with self.subTest(ranks=ranks):
                output = self.calibrate(TINY / "weights", ids, "--devices", f"cpu:{ranks}", name=f"of-{ranks}")
                self.assert_same(one, output)

    def test_more_ranks_than_windows(self):
        ids = self.windows(2, count=1, length=96)
        self.assert_same(self.calibrate(TINY / "weights", ids, name="one"),
                         self.calibrate(TINY / "weights", ids, "--devices", "cpu:2", name="two"))

    def test_ranks_that_a_launcher_started(self):
        ids = self.windows(3, count=5, length=96)
        alone = self.calibrate(TINY / "weights", ids, name="alone")
        ranks = start_one_by_one(2, "calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids),
                                 "--output", self.folder / "launched", "--devices", "cpu", "--quiet")
        for rank, process in enumerate(ranks):
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, f"rank {rank}: {err}")
            if rank:
                self.assertEqual(out, "", "only rank 0 speaks")
        self.assert_same(alone, self.folder / "launched")

    def test_micro_batch(self):
        ids = self.windows(4, count=7, length=96)
        outputs = [self.calibrate(TINY / "weights", ids, "--micro-batch", size, name=f"of-{size}")
                   for size in (64, 512, 4096)]
        for output in outputs[1:]:
            self.assert_same(outputs[0], output)

    def test_histograms(self):
        """Their sums, too: 40 windows are more than are looked at; micro-batches hold three, five or one."""
        ids = self.windows(8, count=40, length=48)
        one = self.calibrate(TINY / "weights", ids, "--method", "importance", "--devices", "cpu:1", name="one")
        for ranks, micro_batch in ((1, 144), (2, 240), (4, 48)):
            with self.subTest(ranks=ranks, micro_batch=micro_batch):
                output = self.calibrate(TINY / "weights", ids, "--method", "importance", "--devices", f"cpu:{ranks}",
                                        "--micro-batch", micro_batch, name=f"of-{ranks}")
                self.assert_same(one, output)
        threads = self.calibrate(TINY / "weights", ids, "--method", "importance", name="threads", OMP_NUM_THREADS="1")
        self.assert_same(one, threads)

    def test_how_the_directory_is_sharded(self):
        model = random_model(5, layers=2, heads=8, intermediate=512, attention_bias=True)
        ids = self.windows(5, count=3, length=80, vocab=model.vocab)
        whole_weights = self.write(model, 1, name="cut-1")
        whole = self.calibrate(whole_weights, ids, "--histograms", name="whole")
        for ranks in (2, 4, 8):
            with self.subTest(ranks=ranks):
                cut = self.calibrate(self.write(model, ranks, name=f"cut-{ranks}"), ids, "--histograms",
                                     name=f"of-{ranks}")
                self.assert_same_statistics(whole, cut)
                served = self.calibrate(whole_weights, ids, "--serving-tp", ranks, name=f"served-{ranks}")
                self.assertEqual(scales(served), scales(cut))
                self.assertEqual(len(scales(cut)), 2 * ranks)

    def test_a_second_run_gives_the_same_bytes(self):
        ids = self.windows(6)
        self.assert_same(self.calibrate(TINY / "weights", ids, name="first"),
                         self.calibrate(TINY / "weights", ids, name="second"))

    def test_every_window_is_seen(self):
        """The ranges of all windows are the extremes of the ranges of each."""
        file = self.windows(7, count=5, length=64)
        windows = np.load(file)
        together = statistics(self.calibrate(TINY / "weights", file, "--devices", "cpu:2", name="together"))
        alone = []
        for index in range(len(windows)):
            np.save(self.folder / "one.npy", windows[index:index + 1])
            alone.append(statistics(self.calibrate(TINY / "weights", self.folder / "one.npy", name=f"of-{index}")))
        for name in RANGE_NAMES:
            extreme = np.minimum if name.endswith("minimum") else np.maximum
            np.testing.assert_array_equal(together[name], extreme.reduce([each[name] for each in alone]), name)


if __name__ == "__main__":
    unittest.main()
