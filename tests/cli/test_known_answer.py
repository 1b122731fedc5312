# SPDX-License-Identifier: Apache-2.0
"""The scale files of the embedded model, byte for byte as they have always been, for every number of ranks."""

import hashlib
import unittest

from program import TINY, ProgramTest, scales

# SHA-256 over the names and bytes of the eight scale files: 6 windows x 256 tokens of the embedded text, seed 0.
OF_WINDOWS = "a195242264091d42cfc82b59842c0f30ba071d8afcfa0a0d6cb584263ae82694"
# The same for sessions of 2056 tokens, as its config.ini has them.
OF_SESSIONS = "8ed639a3659ad7fdbc4d0c2e720df16607f9cdfb59d1fb546f7c0729119b512a"


class KnownAnswer(ProgramTest):
    def test_scale_files_of_the_embedded_model(self):
        for devices in ("cpu", "cpu:2", "cpu:4"):
            for known, session in ((OF_WINDOWS, ["--session-len", 256]), (OF_SESSIONS, [])):
                with self.subTest(devices=devices, session=session):
                    output = self.calibrate(TINY / "weights", TINY / "text.jsonl", "--samples", 6, "--length", 256,
                                            "--devices", devices, *session, name=f"{devices}{len(session)}")
                    digest = hashlib.sha256()
                    for name, data in sorted(scales(output).items()):
                        digest.update(name.encode() + data)
                    self.assertEqual(digest.hexdigest(), known)


if __name__ == "__main__":
    unittest.main()
