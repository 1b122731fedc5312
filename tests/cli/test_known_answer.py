# SPDX-License-Identifier: Apache-2.0
"""The scale files of the embedded model, byte for byte as they have always been, for every number of ranks."""

import hashlib
import unittest

from program import TINY, ProgramTest, scales

# SHA-256 over the names and bytes of the eight scale files: 6 windows x 256 tokens of the embedded text, seed 0.
KNOWN = "a195242264091d42cfc82b59842c0f30ba071d8afcfa0a0d6cb584263ae82694"


class KnownAnswer(ProgramTest):
    def test_scale_files_of_the_embedded_model(self):
        for devices in ("cpu", "cpu:2", "cpu:4"):
            with self.subTest(devices=devices):
                output = self.calibrate(TINY / "weights", TINY / "text.jsonl", "--samples", 6, "--length", 256,
                                        "--devices", devices, name=devices.replace(":", "-"))
                digest = hashlib.sha256()
                for name, data in sorted(scales(output).items()):
                    digest.update(name.encode() + data)
                self.assertEqual(digest.hexdigest(), KNOWN)


if __name__ == "__main__":
    unittest.main()
