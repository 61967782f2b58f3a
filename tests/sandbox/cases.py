"""Programs that attack a sandbox or its verdict, and honest ones that must not suffer. Also a script: runs them all with
the tier that holds where it runs and prints the findings as JSON, for runs under another user or an outer filter.

Verdicts: AC all tests passed, WA not all did, and the outcomes RE, TL, ML, OL, SV, SF, BT (bad tests).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from reasoning_rl.sandbox import Call, GradeResult, Limits, LocalSandbox, Outcome, TestCode

SHORT = {
    Outcome.RUNTIME_ERROR: "RE",
    Outcome.TIME_LIMIT: "TL",
    Outcome.MEMORY_LIMIT: "ML",
    Outcome.OUTPUT_LIMIT: "OL",
    Outcome.SECURITY_VIOLATION: "SV",
    Outcome.SANDBOX_FAILURE: "SF",
    Outcome.BAD_TESTS: "BT",
}
ASSERT = TestCode("assert", "assert add(1, 2) == 3\nassert add(5, 7) == 12", "add")
CHECK = TestCode(
    "check", "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(5, 7) == 12\n", "add"
)
UNIT = TestCode(
    "unittest",
    "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1, 2), 3)\n"
    "    def test_more(self):\n        self.assertEqual(add(5, 7), 12)\n",
    "add",
)
PAIRS = (((1, 2), 3), ((5, 7), 12))
STDIO = (("1 2\n", b"3\n2\n"), ("5 7\n", b"12\n35\n"))
LIMITS = Limits(cpu_s=0.5, wall_s=1.5, memory_mb=192, output_bytes=1 << 20, scratch_mb=16)
#: CPython 3.12 and later have a limit of their own for calls through C, such as `lru_cache`'s, whatever `setrecursionlimit` says.
CACHED_RECURSION = "AC" if sys.version_info < (3, 12) else "AC|RE"
SOLVE = "a, b = map(int, input().split()); print(a + b); print(a * b)\n"
ADD = "def add(a, b): return a + b\n"


@dataclass(frozen=True)
class Case:
    """A program, the fixtures it is tried on (A, C, U, P, S), and the verdicts that are right."""

    name: str
    fixtures: str
    program: str
    expected: str


def returning(expression: str, before: str = "") -> str:
    """A program whose `add` returns this."""
    return f"{before}\ndef add(a, b):\n    return {expression}\n"


def doing(body: str, before: str = "") -> str:
    """A program whose `add` does this."""
    return f"{before}\ndef add(a, b):\n" + "".join(f"    {line}\n" for line in body.splitlines())


NEVER_EQUAL = "class E(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\n"
SYSCALL = "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
FORGE = """
import os, struct
def forge(data):
    for fd in range(3, 64):
        try: os.write(fd, data)
        except OSError: pass
"""

CASES = (
    # Leaving early.
    Case("exit at top", "ACUP", "import sys; sys.exit(0)", "RE"),
    Case("exit in function", "ACUP", doing("import sys; sys.exit(0)"), "RE"),
    Case("_exit in function", "ACUP", doing("import os; os._exit(0)"), "RE"),
    Case("raise SystemExit", "ACUP", doing("raise SystemExit"), "RE"),
    Case("C exit", "ACUP", "import ctypes; ctypes.CDLL(None)._exit(0)", "RE"),
    Case("atexit", "ACUP", returning("0", "import atexit, os; atexit.register(os._exit, 0)"), "WA"),
    Case("SkipTest", "ACU", doing("import unittest; raise unittest.SkipTest"), "WA|RE"),
    Case("print and exit 0", "S", SOLVE + "import sys; sys.exit(0)", "AC"),
    Case("print and exit()", "S", SOLVE + "raise SystemExit", "AC"),
    Case("print and exit 1", "S", SOLVE + "import sys; sys.exit(1)", "RE"),
    *(Case(f"exit {n}", "S", SOLVE + f"import os; os._exit({n})", "RE") for n in (97, 120, 126, 127, 134, 137, 139, 152, 159)),
    Case(
        "forged failure message",
        "S",
        "import sys; sys.stderr.write('bwrap: Can\\'t mount proc\\nsandbox: setup failed\\n'); sys.exit(1)",
        "RE",
    ),
    # Lying values.
    Case("int that equals all", "ACUP", returning("E(0)", NEVER_EQUAL), "WA|RE"),
    Case("object that equals all", "ACUP", returning("E()", "class E:\n    __eq__ = lambda s, o: True\n"), "WA|RE"),
    Case("mock.ANY", "ACUP", returning("mock.ANY", "from unittest import mock"), "WA|RE"),
    Case("posing class", "ACUP", returning("E()", "class E:\n    __class__ = property(lambda s: int)\n"), "WA|RE"),
    Case("cycle", "ACUP", doing("x = []\nx.append(x)\nreturn x"), "WA|RE"),
    Case("deep list", "ACUP", doing("x = []\nfor _ in range(10**6): x = [x]\nreturn x"), "WA|RE|TL"),
    Case("huge integer", "ACUP", returning("1 << (1 << 25)"), "WA|RE|TL"),
    Case("huge list", "ACUP", returning("[0] * 200_000_000"), "WA|RE|ML"),
    Case("long list", "ACUP", returning("[0] * 5_000_000"), "WA|RE|TL|ML"),
    Case("text for a number", "ACUP", returning("str(a + b)"), "WA"),
    Case("reduce", "ACUP", returning("E()", "import os\nclass E:\n    def __reduce__(s): return os.system, ('true',)\n"), "WA|RE"),
    Case("not a number", "ACUP", returning("float('nan')"), "WA"),
    # The oracle.
    Case(
        "frames",
        "ACUP",
        doing(
            "import sys\nf = sys._getframe()\nwhile f:\n    for k, v in f.f_locals.items():\n"
            "        if 'exp' in k or 'out' in k: return v\n    f = f.f_back\nreturn 0"
        ),
        "WA|RE",
    ),
    Case("builtins", "ACUP", returning("0", "import builtins\nbuiltins.AssertionError = builtins.all = builtins.len = print"), "WA|RE"),
    Case("open quote", "ACUP", "def add(a, b): return 0\nx = '''", "RE"),
    Case("swallow the tests", "ACUP", "def add(a, b): return 0\nif False:\\\n", "RE|WA"),
    Case(
        "patch unittest",
        "ACUP",
        returning("0", "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\nunittest.TestResult.wasSuccessful = lambda s: True"),
        "WA",
    ),
    Case("memory of itself", "ACUP", doing("return int(open('/proc/self/mem').read()[0])"), "WA|RE"),
    Case("forged verdict", "ACU", FORGE + "forge(b'{\"tests\": 2, \"passed\": 2}\\n')\nadd = 0", "RE|WA"),
    Case("forged answer", "ACUP", FORGE + doing("forge(struct.pack('<I', 1) + b'T')\nreturn 3"), "RE|WA"),
    Case("answers in advance", "ACUP", FORGE + "forge(b'\\xff' * 64)\ndef add(a, b): return a + b", "RE|WA"),
    Case("dead clock", "ACUP", doing("while True: pass", "import time\ntime.time = time.monotonic = lambda: 0"), "TL"),
    Case("no signals", "ACUP", doing("while True: pass", "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except Exception: pass"), "TL"),
    Case("catch all", "ACUP", doing("while True:\n    try:\n        while True: pass\n    except BaseException: pass"), "TL"),
    Case("collisions", "ACUP", doing("return [{i * (2**61 - 1): 0} for i in range(9)]"), "WA|RE"),
    # Standard input and output.
    Case("first line only", "S", "a, b = map(int, input().split()); print(a + b)", "WA"),
    Case("all numbers", "S", "print(*range(10**5), sep='\\n')", "WA"),
    Case("reads no input", "S", "print(3); print(2)", "WA"),
    Case("terminal", "S", "open('/dev/tty', 'w').write('x')", "RE"),
    Case("TIOCSTI", "S", "import fcntl; fcntl.ioctl(0, 0x5412, b'x')", "RE"),
    Case("output of the parent", "S", "import os; open(f'/proc/{os.getppid()}/fd/1', 'w')", "RE"),
    Case("right, then spins", "S", SOLVE + "while True: pass", "TL"),
    Case("right, then sleeps", "S", SOLVE + "import time; time.sleep(100)", "TL"),
    # Resources.
    Case("spin", "S", "while True: pass", "TL"),
    Case("append", "S", "x = []\nwhile True: x.append(bytearray(1 << 20))", "ML|TL"),
    Case("one block", "S", "x = bytearray(1 << 32)", "ML"),
    Case("constants", "S", "x = 'a' * (1 << 40)", "ML|RE"),
    Case("brackets", "S", "(" * 100_000 + ")" * 100_000, "RE|ML"),
    Case("NUL", "S", "x = 1\0", "RE"),
    Case("surrogate", "S", "x = '\ud800'", "RE|WA"),
    Case("recursion", "S", "import sys\nsys.setrecursionlimit(10**8)\ndef f(): f()\nf()", "RE|ML|TL"),
    Case("C recursion", "S", "import sys\nsys.setrecursionlimit(10**8)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)", "RE|ML|TL"),
    Case("null pointer", "S", "import ctypes; ctypes.string_at(0)", "RE"),
    Case("abort", "S", "import os; os.abort()", "RE"),
    Case("fork", "S", "import os\nwhile True: os.fork()", "RE"),
    Case("subprocess", "S", "import subprocess; subprocess.run(['true'])", "RE"),
    Case("multiprocessing", "S", "import multiprocessing as m\nif __name__ == '__main__':\n    m.get_context('fork').Process(target=print).start()", "RE"),
    Case("posix_spawn", "S", "import os; os.posix_spawn('/bin/true', ['true'], {})", "RE"),
    *(Case(f"syscall {n}", "S", SYSCALL + f"import sys; sys.exit(c.syscall({n}, *{a}) < 0)", "RE") for n, a in ((57, ()), (58, ()), (56, (17, 0, 0, 0, 0)), (435, (b"\\0" * 88, 88)))),
    Case("disk", "S", "i = 0\nwhile True:\n    open(str(i), 'wb').write(b'x' * (1 << 20)); i += 1", "RE"),
    Case("many files", "S", "i = 0\nwhile True:\n    open(str(i), 'wb').close(); i += 1", "RE"),
    Case("sparse file", "S", "open('x', 'wb').truncate(1 << 40)", "RE"),
    Case("other folders", "S", "for d in ('/tmp', '/dev/shm', '/dev', '/', '/var/tmp'):\n    try: open(d + '/x', 'w').write('x'); print(d)\n    except OSError: pass\nraise SystemExit(1)", "RE"),
    Case("regular expression", "S", "import re; re.match('(a+)+$', 'a' * 40 + 'b')", "TL"),
    Case("output", "S", "while True: print('x' * 10**5)", "OL"),
    Case("errors", "S", "import sys\nwhile True: sys.stderr.write('x' * 10**5)", "OL"),
    # Escape.
    *(Case(f"socket {f}", "S", f"import socket; socket.socket({f}, {k})", "RE") for f, k in ((2, 1), (2, 2), (10, 1), (1, 1), (16, 3), (40, 1), (17, 3))),
    Case("names", "S", "import socket; socket.getaddrinfo('localhost', 80, proto=6); socket.create_connection(('localhost', 80))", "RE"),
    *(Case(f"violation {n}", "S", SYSCALL + f"c.syscall({n}, 0, 0, 0, 0, 0)\n" + SOLVE, "SV") for n in (101, 165, 166, 155, 161, 272, 308, 298, 304, 310, 311, 321, 323, 250, 175, 425)),
    Case("x32", "S", SYSCALL + "c.syscall(0x40000000 + 1, 1, b'x', 1)\n" + SOLVE, "SV"),
    *(Case(f"no {call}", "S", f"import os\ntry: os.{call}\nexcept OSError: raise SystemExit(1)\n", "RE") for call in ("chmod('/tmp', 0o777)", "chown('/tmp', 0, 0)", "utime('/tmp')", "setxattr('/tmp', 'user.a', b'x')", "link('/etc/passwd', 'x')", "symlink('/etc/passwd', 'x')", "mknod('/tmp/x')", "unlink('/etc/passwd')", "rename('/etc/passwd', '/etc/x')", "truncate('/etc/passwd', 0)", "setuid(0)", "kill(1, 0)", "kill(os.getppid(), 9)", "killpg(0, 9)", "sched_setaffinity(os.getppid(), {0})", "setpriority(0, os.getppid(), 19)", "execv('/bin/true', ['true'])", "listdir('/root')", "open('/etc/passwd', os.O_RDONLY)", "mkfifo('x')", "memfd_create('x')")),
    Case("limits", "S", "import resource as r\nfor n in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_FSIZE):\n    h = r.getrlimit(n)[1]\n    try: r.setrlimit(n, (h + 1, h + 1)); raise SystemExit(0)\n    except ValueError: pass\nraise SystemExit(1)", "RE"),
    Case("limits of the parent", "S", "import os, resource as r\nr.prlimit(os.getppid(), r.RLIMIT_CPU, (1, 1))", "RE"),
    Case("own SIGKILL", "S", "import os; os.kill(os.getpid(), 9)", "RE"),
    Case("own SIGSTOP", "S", "import os; os.kill(os.getpid(), 19)", "TL"),
    Case("environment", "S", "import os; raise SystemExit(0 if 'CANARY_TOKEN' in os.environ else 1)", "RE"),
    # Honest.
    Case("honest", "ACUP", ADD, "AC"),
    Case("honest stdio", "S", SOLVE, "AC"),
    Case("asyncio", "S", "import asyncio\nasync def main():\n    await asyncio.sleep(0.01)\n" + "    " + SOLVE + "asyncio.run(main())", "AC"),
    Case("threads", "S", "from concurrent.futures import ThreadPoolExecutor as P\na, b = map(int, input().split())\nwith P(4) as p: print(*p.map(lambda f: f(), [lambda: a + b, lambda: a * b]), sep='\\n')", "AC"),
    Case("many short threads", "S", "import threading\nfor _ in range(100):\n    t = threading.Thread(target=int); t.start(); t.join()\n" + SOLVE, "AC"),
    Case("deep recursion", "S", "import sys\nsys.setrecursionlimit(200_000)\nfrom functools import lru_cache\n@lru_cache(None)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nassert f(3000) == 3000\n" + SOLVE, CACHED_RECURSION),
    Case("buffer", "S", "import sys\na, b = map(int, sys.stdin.buffer.read().split())\nsys.stdout.write(f'{a + b}\\n{a * b}\\n')", "AC"),
    Case("iterate stdin", "S", "import sys\nfor line in sys.stdin:\n    a, b = map(int, line.split()); print(a + b, a * b, sep='\\n')", "AC"),
    Case("open(0)", "S", "a, b = map(int, open(0).read().split()); print(a + b, a * b, sep='\\n')", "AC"),
    Case("os.read", "S", "import os\na, b = map(int, os.read(0, 99).split()); os.write(1, f'{a + b}\\n{a * b}\\n'.encode())", "AC"),
    Case("main guard", "S", "if __name__ == '__main__':\n    " + SOLVE, "AC"),
    Case("scratch file", "S", "open('x.txt', 'w').write(input())\na, b = map(int, open('x.txt').read().split()); print(a + b, a * b, sep='\\n')\nimport os; os.remove('x.txt')", "AC"),
    Case("libraries", "S", "import re, heapq, decimal, fractions, bisect, itertools, statistics, datetime, zoneinfo, sqlite3, ctypes, hashlib, uuid, tempfile\n" + SOLVE, "AC"),
    Case("atexit prints", "S", "import atexit\na, b = map(int, input().split())\natexit.register(lambda: print(a * b))\nprint(a + b)", "AC"),
    Case("comments", "S", "# import os, exit(0), multithreading\nx = 'sys.exit(0)'\n" + SOLVE, "AC"),
    Case("stack limit", "S", "import resource, threading\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 26, resource.getrlimit(resource.RLIMIT_STACK)[1]))\nthreading.stack_size(1 << 26)\n" + SOLVE, "AC"),
    Case("prints in calls", "ACUP", "print('hello')\n" + doing("print(a)\nreturn a + b"), "AC"),
    Case("helper class", "ACUP", "class H:\n    def go(self, a, b): return a + b\n" + returning("H().go(a, b)"), "AC"),
)  # fmt: skip


def verdict(sandbox: LocalSandbox, fixture: str, program: str, limits: Limits = LIMITS) -> str:
    """What one fixture makes of a program, in two letters."""
    if fixture in "ACU":
        return graded(sandbox.grade(program, {"A": ASSERT, "C": CHECK, "U": UNIT}[fixture], limits))
    if fixture == "P":
        result = sandbox.calls(program, [Call("add", args) for args, _ in PAIRS], limits)
        if result.end.outcome is not Outcome.EXITED:
            return SHORT[result.end.outcome]
        right = [
            answer.raised is None and _same(answer.value, gold)
            for answer, (_, gold) in zip(result.answers, PAIRS, strict=True)
        ]
        return "AC" if all(right) else "WA"
    for given, gold in STDIO:
        end = sandbox.run(program, given, limits)
        if end.outcome is not Outcome.EXITED:
            return SHORT[end.outcome]
        if end.stdout != gold:
            return "WA"
    return "AC"


def graded(result: GradeResult) -> str:
    """The verdict on a test suite, in two letters."""
    if result.accepted:
        return "AC"
    return "WA" if result.end.outcome is Outcome.EXITED else SHORT[result.end.outcome]


def _same(value: object, gold: object) -> bool:
    return type(value) is type(gold) and value == gold


def wrong_verdicts(sandbox: LocalSandbox) -> list[str]:
    """All cases on all of their fixtures; those whose verdict is not right."""
    wrong = []
    for case in CASES:
        for fixture in case.fixtures:
            found = verdict(sandbox, fixture, case.program)
            if found not in case.expected.split("|"):
                wrong.append(f"{case.name} [{fixture}]: {found}, expected {case.expected}")
    return wrong


if __name__ == "__main__":
    with LocalSandbox() as used:
        sys.stdout.write(json.dumps({"tier": used.tier.name, "num_cases": len(CASES), "wrong": wrong_verdicts(used)}))
