# SPDX-License-Identifier: Apache-2.0
"""What a task file has an entry of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A question: the text for each choice, where the scored part of each begins (rule ll, in code points), the right
    choice and the cluster; its name where that is not its number."""

    texts: list[str]
    contexts: list[str] | None
    gold: int
    group: str | None
    name: str | None = None


@dataclass(frozen=True)
class Question:
    """What is answered by generated text: the prompt, the answers each of which is right, and the cluster."""

    prompt: str
    answers: list[str]
    group: str | None
    name: str | None = None
