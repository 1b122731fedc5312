# SPDX-License-Identifier: Apache-2.0
"""A number hidden in filler text, which is then asked for: items that need no data set.

The row (configs/tasks/passkey.json) has in the place of text, choices, gold and sources:
  repeats       how often the filler stands in an item: one length each
  depths        behind which share of the filler, in percent, the number stands
  each          items of each length and depth
  candidates    numbers to choose among, of so many `digits`
  begin, filler, key, question, choice   the texts; {key} stands for a number

Nothing is drawn but from hashes of what is asked for: the same row gives the same items everywhere.
"""

import hashlib
from itertools import count, islice, product

from tasks.items import Item


def draw(*place) -> int:
    """A number of 64 bits for a place, as good as a random one."""
    return int.from_bytes(hashlib.sha256(repr(place).encode()).digest()[:8], "big")


def numbers_of(row: dict, place: tuple) -> list[str]:
    """Numbers, no two of them alike, none beginning with 0."""
    first = 10 ** (row["digits"] - 1)
    drawn = (str(first + draw("number", place, turn) % (9 * first)) for turn in count())
    return list(islice(dict.fromkeys(islice(drawn, 2 * row["candidates"])), row["candidates"]))


def gold_of(row: dict, number: int) -> int:
    """The right place, which among each so many items is every place once."""
    candidates = row["candidates"]
    block, inside = divmod(number, candidates)
    return sorted(range(candidates), key=lambda place: draw("gold", block, place))[inside]


def prompt_of(row: dict, repeats: int, depth: int, key: str) -> str:
    before = repeats * depth // 100
    sentences = [row["filler"]] * before + [row["key"].replace("{key}", key)] + [row["filler"]] * (repeats - before)
    return row["begin"] + " ".join(sentences) + row["question"]


def passkey_items(row: dict) -> list[Item]:
    """Items that share their filler follow each other."""
    items = []
    for repeats, depth, each in product(row["repeats"], row["depths"], range(row["each"])):
        numbers, gold = numbers_of(row, (repeats, depth, each)), gold_of(row, len(items))
        prompt = prompt_of(row, repeats, depth, numbers[gold])
        group = f"filler x {repeats}, depth {depth} %"
        items.append(Item([prompt + row["choice"].replace("{key}", number) for number in numbers],
                          [prompt] * len(numbers), gold, group, f"{group}: {each}"))
    return items
