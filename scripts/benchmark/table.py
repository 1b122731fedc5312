# SPDX-License-Identifier: Apache-2.0
"""The rows of a benchmark, what was wanted of them, and the table that they make."""

from dataclasses import dataclass, field

COLUMNS = ("row", "what", "kvcalib", "against", "result", "goal", "verdict")
DIGITS = {"x": 2, "%": 1, "s": 2, "GB": 1, "faults": 0, "files": 0}


def quantity(value: float, unit: str) -> str:
    return f"{value:.{DIGITS[unit]}f} {unit}"


def seconds(value: float) -> str:
    return quantity(value, "s")


@dataclass(frozen=True)
class Goal:
    limit: float
    unit: str  # of DIGITS; the result's, too
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def text(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {quantity(self.limit, self.unit)}"


@dataclass(frozen=True)
class Row:
    """One result. Without a value it was skipped, or it failed, for the reason given."""

    name: str
    what: str
    goal: Goal | None = None
    value: float | None = None  # in the goal's unit
    measured: str = ""
    against: str = ""
    skipped: str = ""
    failed: str = ""
    details: dict = field(default_factory=dict)

    def verdict(self) -> str:
        if self.failed:
            return "failed"
        if self.skipped:
            return "skipped"
        return "met" if self.goal.met_by(self.value) else "missed"

    def cells(self) -> tuple[str, ...]:
        reason = self.failed or self.skipped
        result = quantity(self.value, self.goal.unit) if self.value is not None else ""
        verdict = f"{self.verdict()}: {reason}" if reason else self.verdict()
        return self.name, self.what, self.measured, self.against, result, self.goal.text() if self.goal else "", verdict

    def report(self) -> dict:
        goal = self.goal and {"limit": self.goal.limit, "unit": self.goal.unit, "at_least": self.goal.at_least}
        return {"name": self.name, "what": self.what, "measured": self.measured, "against": self.against,
                "value": self.value, "goal": goal, "verdict": self.verdict(),
                "reason": self.failed or self.skipped or None, "details": self.details}


def table_line(cells) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def markdown(facts: dict[str, str], floors: dict[str, str], rows: list[Row]) -> str:
    """The whole report: facts about the run, floors by name, and the rows."""
    lines = ["# kvcalib benchmark", ""]
    lines += [f"* {name}: {text}" for name, text in facts.items()]
    if floors:
        lines += ["", "Floors measured in the same run:", ""]
        lines += [f"* {name}: {text}" for name, text in floors.items()]
    lines += ["", table_line(COLUMNS), "|" + "---|" * len(COLUMNS)]
    lines += [table_line(row.cells()) for row in rows]
    return "\n".join(lines) + "\n"
