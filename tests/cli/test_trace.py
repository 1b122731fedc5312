# SPDX-License-Identifier: Apache-2.0
"""--trace: where the time went, as a Chrome trace of every rank."""

import json
import unittest

from program import TINY, TINY_LAYERS, ProgramTest, digests, kvcalib, shape_options


class Trace(ProgramTest):
    def traced(self, *options):
        file = self.folder / "trace.json"
        output = self.calibrate(TINY / "weights", self.windows(1, count=4, length=96), "--micro-batch", 96, "--trace",
                                file, *options)
        events = json.loads(file.read_text())["traceEvents"]
        self.assertEqual([path.name for path in file.parent.glob("trace.json*")], ["trace.json"])
        spans = [event for event in events if event["ph"] == "X"]
        tracks = {(event["pid"], event["tid"]): event["args"]["name"] for event in events
                  if event["name"] == "thread_name"}
        return output, [(tracks[span["pid"], span["tid"]], span) for span in spans]

    def test_holds_every_layer_of_every_rank(self):
        _, spans = self.traced("--devices", "cpu:2")
        for rank in range(2):
            for track, name in (("layers", "layer"), ("layers", "assemble"), ("reader", "read"),
                                ("waiting for the reader", "wait")):
                layers = [span["args"]["layer"] for where, span in spans
                          if (where, span["name"], span["pid"]) == (track, name, rank)]
                self.assertEqual(layers, list(range(TINY_LAYERS)), (rank, track, name))
            self.assertEqual(sum(span["name"] == "gather" and span["pid"] == rank for _, span in spans), TINY_LAYERS)

    def test_operations_lie_within_their_layer_and_fill_it(self):
        output, spans = self.traced("--devices", "cpu")
        layers = [span for _, span in spans if span["name"] == "layer"]
        operations = [span for track, span in spans if track == "operations"]
        self.assertEqual(len(operations), 4 * (10 * (TINY_LAYERS - 1) + 1))  # four micro-batches
        for operation in operations:
            self.assertTrue(any(layer["ts"] <= operation["ts"] and
                                operation["ts"] + operation["dur"] <= layer["ts"] + layer["dur"] + 1e-3
                                for layer in layers), operation)
        total = sum(layer["dur"] for layer in layers)
        self.assertLessEqual(sum(operation["dur"] for operation in operations), total)
        cost = json.loads((output / "summary.json").read_text())["cost"]
        self.assertLessEqual(total, 1e6 * cost["layer_seconds"])
        self.assertGreater(min(span["ts"] for _, span in spans), 0)

    def test_does_not_change_the_result(self):
        ids = self.windows(1, count=4, length=96)
        traced, _ = self.traced("--devices", "cpu")
        self.assert_same_statistics(traced, self.calibrate(TINY / "weights", ids, name="untraced"))

    def test_place_is_checked_before_any_work(self):
        ids = self.windows(1, count=1, length=96)
        link, existing, earlier = self.folder / "link", self.folder / "existing", self.folder / "earlier"
        existing.write_text("mine")
        earlier.write_text('{"displayTimeUnit":"ms","traceEvents":[]}')
        weights = self.tiny()
        link.symlink_to(existing)
        before = digests(self.folder)
        for place, message in ((self.folder / "none/trace.json", "cannot write"), (self.folder, "is no file"),
                               (link, "is no file"), ("/dev/null", "is no file"), ("", "names no file"),
                               (existing, "holds no trace"), (earlier, "--force replaces it"),
                               (weights / "summary.json", "lies in the weights directory"),
                               (weights / "norm.weight", "holds no trace"), (ids, "holds no trace")):
            for more in (), ("--force",):
                if place == earlier and more:
                    continue
                run = kvcalib("calibrate", "--weights", weights, "--data", ids, *shape_options(ids), "--output",
                              self.folder / "output", "--devices", "cpu", "--trace", place, *more)
                self.assertEqual(run.code, 1, run.text)
                self.assertIn(message, run.err)
        self.assertEqual(digests(self.folder), before)

    def test_replaces_an_earlier_one_with_force(self):
        self.traced("--devices", "cpu")
        _, spans = self.traced("--devices", "cpu", "--force")
        self.assertTrue(spans)


if __name__ == "__main__":
    unittest.main()
