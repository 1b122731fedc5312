# SPDX-License-Identifier: Apache-2.0
"""Each system call of a run that concerns its files, failing one at a time, and what that leaves.

usage: faults.py [--every N] [--every-read N] [--only NAME...] [--workers N]

Prints, for each command, call and error, how often it was injected, how often the run failed cleanly or survived, and
every violation of what is promised: exit code 0 stands for a complete, right result and nothing left behind; any other
for files that are as they were, or complete with a message that says so; weights are never touched, scales never lie
beside another set's config.ini, and a later run succeeds. Exit code 1 when there is a violation.
"""

import argparse
import errno
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from program import PROGRAM, TINY, environment

FAIL_AT_CALLS = Path(os.environ.get("KVCALIB_FAIL_AT_CALLS", PROGRAM.parent / "libfail_at_calls.so")).resolve()
SECONDS_OF_A_RUN = 100
SHORT = "short"
READS = ("open", "pread", "preadv2")  # the most by far, and the most alike
_UNLIKE_AGAIN = ("cost", "files")  # a run over its own results has no patch to write
_READING = ("EIO", "EINTR", SHORT)
_CHANGING = ("EIO", "ENOSPC")
ERRORS = {"open": ("EIO", "ENOSPC", "EINTR"), "read": _READING, "pread": _READING,
          "write": ("EIO", "ENOSPC", "EINTR", SHORT), "fsync": ("EIO", "ENOSPC", "EINTR"), "rename": _CHANGING,
          "link": _CHANGING, "symlink": _CHANGING, "unlink": ("EIO",), "mkdir": _CHANGING, "lstat": ("EIO",),
          "stat": ("EIO",), "fstat": ("EIO",), "readlink": ("EIO",), "flock": ("EIO", "EINTR"), "mmap": ("ENOMEM",),
          "fallocate": ("EIO", "ENOSPC", "EINTR"), "ftruncate": _CHANGING, "readdir": ("EIO",), "chmod": ("EIO",),
          "chown": ("EIO",), "access": ("EIO",), "realpath": ("EIO",), "statvfs": ("EIO",), "preadv2": ("EIO",)}

Tree = dict[str, bytes]  # every entry below a folder and what is read there; of a link and a folder, what it is


class Fault(NamedTuple):
    call: str
    number: int
    error: str


class Outcome(NamedTuple):
    code: int  # as subprocess has it
    reached: bool
    calls: dict[str, int]
    message: str


class Server:
    """The program, loaded once and forked for every run."""

    def __init__(self, below: Path, log: Path):
        self.files = [f"{log}.out", f"{log}.err"]
        self.process = subprocess.Popen(
            [str(PROGRAM.with_name("kvcalib-compute"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env=environment(LD_PRELOAD=str(FAIL_AT_CALLS), KVCALIB_FAULTS_BELOW=str(below), OMP_NUM_THREADS="1"))

    def run(self, arguments: list, fault: Fault = Fault("", 0, "EIO")) -> Outcome:
        error = fault.error if fault.error == SHORT else getattr(errno, fault.error)
        fields = [fault.call, fault.number, error, *self.files, *arguments]
        self.process.stdin.write("\t".join(map(str, fields)) + "\n")
        if not select.select([self.process.stdout], [], [], SECONDS_OF_A_RUN)[0]:
            raise TimeoutError(f"kvcalib {' '.join(map(str, arguments))} with {fault} does not end")
        status, reached, *counts = self.process.stdout.readline().split()
        calls = dict(count.split("=") for count in counts)
        return Outcome(os.waitstatus_to_exitcode(int(status)), reached == "1",
                       {name: int(count) for name, count in calls.items()},
                       Path(self.files[1]).read_text(errors="replace"))

    def close(self):
        self.process.kill()
        self.process.communicate()


def tree(folder: Path) -> Tree:
    found = {}
    for entry in sorted(folder.rglob("*")):
        name = str(entry.relative_to(folder))
        if entry.is_symlink():
            found[name] = b"link to " + os.readlink(entry).encode()
        else:
            found[name] = b"folder" if entry.is_dir() else entry.read_bytes()
    return found


def visible(folder: Path, found: Tree, unlike: tuple = ("cost",)) -> Tree:
    """What a reader finds: through links, without what is hidden; a summary without what runs have unlike others."""
    seen = {}
    for name, content in found.items():
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        if (folder / name).is_symlink():
            if not (folder / name).exists():
                continue
            content = (folder / name).read_bytes()
        if Path(name).name == "summary.json":
            summary = json.loads(content)
            content = json.dumps({key: value for key, value in summary.items() if key not in unlike}).encode()
        seen[name] = content
    return seen


def is_tidy(found: Tree) -> bool:
    return not any(content.startswith(b"link to ") or any(part.startswith(".") for part in Path(name).parts)
                   for name, content in found.items())


class Scenario(NamedTuple):
    name: str
    arguments: tuple  # with {} for the folder
    before: tuple = ()  # runs that make the state to start from
    verified: str | None = None  # the directory that `verify` is asked about


def calibrate(data: str, *place: str) -> tuple:
    shape = () if data.endswith(".npy") else ("--samples", "1", "--length", "16")
    return ("calibrate", "--weights", "{}/weights", "--data", "{}/" + data, *shape, "--devices", "cpu", "--quiet",
            *place)


def shard(source: str, ranks: int, *more: str) -> tuple:
    return ("shard", "--weights", "{}/" + source, "--tp", str(ranks), "--output", "{}/output", "--quiet", *more)


_IN_PLACE, _OUTPUT, _FORCE = "--in-place", ("--output", "{}/output"), "--force"
_EXPORT = ("export", "--stats", "{}/kept/kv_stats.safetensors", "--weights", "{}/weights", "--symmetric")
_KEPT = calibrate("one.npy", "--output", "{}/kept")
SCENARIOS = (
    Scenario("calibrate --in-place", calibrate("text.jsonl", _IN_PLACE), (), "weights"),
    Scenario("calibrate --in-place --force", calibrate("one.npy", _IN_PLACE, _FORCE),
             (calibrate("two.npy", _IN_PLACE),), "weights"),
    Scenario("calibrate --output", calibrate("one.npy", *_OUTPUT), (), "output"),
    Scenario("calibrate --output --force", calibrate("one.npy", *_OUTPUT, _FORCE), (calibrate("two.npy", *_OUTPUT),),
             "output"),
    Scenario("export --in-place", (*_EXPORT, _IN_PLACE), (_KEPT,), "weights"),
    Scenario("export --in-place --force", (*_EXPORT, _IN_PLACE, _FORCE), (_KEPT, calibrate("two.npy", _IN_PLACE)),
             "weights"),
    Scenario("export --output", (*_EXPORT, *_OUTPUT), (_KEPT,), "output"),
    Scenario("shard", shard("weights", 1)),
    Scenario("shard --force", shard("weights", 1, _FORCE), (shard("weights", 2),)),
    Scenario("shard of Hugging Face", shard("model", 1, "--model-name", "llama2")),
)


def make_inputs(folder: Path):
    """The embedded model without its upper half, data for it, and a model of Hugging Face."""
    from reference.families import random_decoder, save
    from reference.windows import random_windows
    for part in ("weights", "tokenizer"):
        shutil.copytree(TINY / part, folder / part)
    shutil.copyfile(TINY / "text.jsonl", folder / "text.jsonl")
    for file in itertools.chain((folder / "weights").glob("layers.2.*"), (folder / "weights").glob("layers.3.*")):
        file.unlink()
    config = folder / "weights/config.ini"
    config.write_text(config.read_text().replace("num_layer = 4", "num_layer = 2"))
    for seed, name in enumerate(("one", "two")):
        np.save(folder / f"{name}.npy", random_windows(seed, 1, 16, 2048))
    save(random_decoder(0, "LlamaForCausalLM", layers=2, hidden=256, heads=2, kv_heads=2, head_dim=128,
                        intermediate=128, dtype="float16"), folder / "model", 2)


class Injector:
    """One scenario in a folder of its own, which is made again after every run that changed it."""

    def __init__(self, scenario: Scenario, scratch: Path):
        self.scenario = scenario
        self.folder, self.template = scratch / "folder", scratch / "template"
        self.folder.mkdir(parents=True)
        self.server = Server(self.folder, scratch / "log")
        make_inputs(self.folder)
        for arguments in scenario.before:
            self.must_run(arguments)
        self.folder.rename(self.template)
        self.reset()
        self.start = tree(self.folder)
        self.old = visible(self.folder, self.start)
        self.calls = self.must_run(scenario.arguments).calls
        self.new = visible(self.folder, tree(self.folder))
        self.new_at_last = visible(self.folder, tree(self.folder), _UNLIKE_AGAIN)
        self.verify_message = self.verify()
        self.reset()

    def filled(self, arguments: tuple) -> list[str]:
        return [argument.replace("{}", str(self.folder)) for argument in arguments]

    def must_run(self, arguments: tuple) -> Outcome:
        done = self.server.run(self.filled(arguments))
        if done.code != 0:
            raise RuntimeError(f"{self.scenario.name}: {arguments} fails by itself: {done.message}")
        return done

    def verify(self) -> str | None:
        if self.scenario.verified is None:
            return None
        done = self.server.run(["verify", str(self.folder / self.scenario.verified)])
        return None if done.code == 0 else f"verify ends with {done.code}: {Path(self.server.files[0]).read_text()}"

    def reset(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.template, self.folder, symlinks=True)

    def faults(self) -> Iterator[Fault]:
        for call, errors in ERRORS.items():
            for number, error in itertools.product(range(1, self.calls[call] + 1), errors):
                yield Fault(call, number, error)

    def inject(self, fault: Fault) -> tuple[str, list[str]]:
        """What became of the run ("not reached", "survived", "failed cleanly"), and what it violated."""
        done = self.server.run(self.filled(self.scenario.arguments), fault)
        found = tree(self.folder)
        violations = list(self.violations(done, found))
        if found != self.start:
            if not (done.code == 0 and is_tidy(found)):
                violations += self.violations_later()
            self.reset()
        kind = "survived" if done.code == 0 else "failed cleanly"
        return kind if done.reached else "not reached", [f"{text}; it said: {done.message}" for text in violations]

    def violations(self, done: Outcome, found: Tree) -> Iterator[str]:
        seen = visible(self.folder, found)
        if done.code == 0:
            if seen != self.new:
                yield f"exit code 0, but {self.differences(seen, self.new)}"
            if not is_tidy(found):
                yield "exit code 0, but something is left behind"
        elif done.code != 1 or "kvcalib: error: " not in done.message:
            yield f"ended with {done.code}, expected 1 and a message"
        if done.code != 0 and seen not in (self.old, self.new):
            yield f"neither the old files nor the new ones: {self.differences(seen, self.old)}"
        if done.code != 0 and seen == self.new != self.old and "all the same" not in done.message:
            yield "the new files are in force, and the message does not say so"
        if seen == self.new and self.verify_message is None and (message := self.verify()) is not None:
            yield message

    def violations_later(self) -> Iterator[str]:
        arguments = self.scenario.arguments
        later = self.server.run(self.filled(arguments if _FORCE in arguments else (*arguments, _FORCE)))
        if later.code != 0:
            yield f"a later run fails: {later.message}"
            return
        found = tree(self.folder)
        seen = visible(self.folder, found, _UNLIKE_AGAIN)
        if seen != self.new_at_last or not is_tidy(found):
            yield f"a later run leaves something else: {self.differences(seen, self.new_at_last)}"

    @staticmethod
    def differences(seen: Tree, expected: Tree) -> str:
        names = sorted(name for name in seen.keys() | expected.keys() if seen.get(name) != expected.get(name))
        return f"{len(names)} files differ: " + ", ".join(
            f"{name} {'is too many' if name not in expected else 'is missing' if name not in seen else 'is another'}"
            for name in names[:5])

    def close(self):
        self.server.close()


class Report:
    """Counts of what was injected, and the violations."""

    def __init__(self):
        self.counts: dict[tuple[str, str, str], Counter] = {}
        self.violations: list[str] = []
        self.lock = threading.Lock()

    def add(self, scenario: str, fault: Fault, kind: str, violations: list[str]):
        with self.lock:
            counts = self.counts.setdefault((scenario, fault.call, fault.error), Counter())
            counts["injected"] += 1
            counts["violations" if violations else kind] += 1
            self.violations += [f"{scenario}: {fault.call} {fault.number} {fault.error}: {text}"
                                for text in violations]

    def totals(self) -> Counter:
        return sum(self.counts.values(), Counter())


def sample(faults: list[Fault], every: int, every_read: int, offset: int) -> list[Fault]:
    reads = [fault for fault in faults if fault.call in READS]
    others = [fault for fault in faults if fault.call not in READS]
    return reads[offset % every_read::every_read] + others[offset % every::every]


def inject_all(scenarios: list[Scenario], every: int, every_read: int, workers: int) -> Report:
    """Lets faults of each scenario happen, of opening and reading one in `every_read`, of others one in `every`;
    several scenarios at a time."""
    report, waiting, failures = Report(), list(enumerate(scenarios)), []
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

    def work():
        while waiting and not failures:
            index, scenario = waiting.pop(0)
            with tempfile.TemporaryDirectory(prefix="kvcalib-faults-", dir=root) as scratch:
                try:
                    injector = Injector(scenario, Path(scratch))
                    try:
                        for fault in sample(list(injector.faults()), every, every_read, index):
                            report.add(scenario.name, fault, *injector.inject(fault))
                    finally:
                        injector.close()
                except Exception as failure:  # whatever it is, told by the thread that waits for all
                    failures.append(failure)
    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only one in N faults")
    parser.add_argument("--every-read", type=int, default=1, help="of opening and reading only one in N")
    parser.add_argument("--only", nargs="+", default=[scenario.name for scenario in SCENARIOS], metavar="NAME")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if scenario.name in options.only]
    report = inject_all(chosen, options.every, options.every_read, options.workers)
    columns = ("injected", "failed cleanly", "survived", "not reached", "violations")
    print(f"{'command':30} {'call':10} {'error':7}" + "".join(f"{column:>16}" for column in columns))
    for scenario in chosen:
        for (name, call, error), counts in report.counts.items():
            if name == scenario.name:
                print(f"{name:30} {call:10} {error:7}" + "".join(f"{counts[column]:16}" for column in columns))
    totals = report.totals()
    print(f"{'all':49}" + "".join(f"{totals[column]:16}" for column in columns))
    for violation in report.violations:
        print(f"violation: {violation}")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
