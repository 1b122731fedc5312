# SPDX-License-Identifier: Apache-2.0
"""Encodes text with a tokenizer in llama2.c's format: greedy merging of the best-scoring pair."""

import struct
from pathlib import Path


class Llama2cTokenizer:
    """Reads int32 longest, then of each piece fp32 score, int32 length, bytes; pieces 3 to 258 are the bytes."""

    def __init__(self, file: Path):
        data, position, self.scores, self.ids = Path(file).read_bytes(), 4, [], {}
        while position < len(data):
            score, length = struct.unpack_from("<fi", data, position)
            piece = data[position + 8:position + 8 + length]
            self.ids.setdefault(piece, len(self.scores))
            self.scores.append(score)
            position += 8 + length

    def encode(self, text: str) -> list[int]:
        pieces = []
        for character in " " + text:
            raw = character.encode()
            pieces += [raw] if raw in self.ids else [bytes([byte]) for byte in raw]
        while True:
            best = max(((self.scores[self.ids[a + b]], -index) for index, (a, b) in enumerate(zip(pieces, pieces[1:]))
                        if a + b in self.ids), default=None)
            if best is None:
                return [self.ids[piece] if piece in self.ids else piece[0] + 3 for piece in pieces]
            index = -best[1]
            pieces[index:index + 2] = [pieces[index] + pieces[index + 1]]
