"""Programs that try to get marks they have not earned, or to reach the host, and honest ones that must not suffer: what the
reward `code_tests` must say of each. Also a script, for runs as another user or inside an outer filter.

Verdicts: AC full marks, WA wrong answer, RE runtime error (also: no code), TL time, ML memory, OL output, SV security
violation; SF (the sandbox failed) and BT (bad tests) abstain and are never right here. `X|Y`: either.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reasoning_rl.api import Completion, Sample, Score
from reasoning_rl.sandbox import LocalSandbox
from reasoning_rl_rewards.code_tests import CodeTests

#: Column `tests` of each fixture.
FIXTURES: dict[str, list[dict[str, Any]]] = {
    "A": [{"type": "assert", "entry_point": "add", "code": "assert add(1, 2) == 3\nassert add(5, 7) == 12"}],
    "C": [
        {
            "type": "check",
            "entry_point": "add",
            "code": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(5, 7) == 12\n",
        }
    ],
    "P": [
        {"type": "call", "entry_point": "add", "args": [1, 2], "expected": 3},
        {"type": "call", "entry_point": "add", "args": [5, 7], "expected": 12},
    ],
    "F": [{"type": "assert", "entry_point": "root", "code": "assert abs(root(2.0) - 1.41421356) < 1e-6"}],
    "U": [
        {
            "type": "unittest",
            "entry_point": "add",
            "code": "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1, 2), 3)\n",
        }
    ],
    "S": [
        {"type": "stdio", "input": "1 2\n", "output": "3\n2\n"},
        {"type": "stdio", "input": "5 7\n", "output": "12\n35\n"},
    ],
}
#: Processor time is half of what a run would allow, so that the table does not take long.
LIMITED = CodeTests(cpu_s=1.0, wall_s=4.0, memory_mb=512, output_bytes=1 << 20, scratch_mb=16, total_s=20.0)
OUTCOMES = {
    "wrong_answer": "WA",
    "runtime_error": "RE",
    "no_code": "RE",
    "time_limit": "TL",
    "memory_limit": "ML",
    "output_limit": "OL",
    "security_violation": "SV",
    "sandbox_failure": "SF",
    "bad_tests": "BT",
    "accepted": "AC",
}


@dataclass(frozen=True)
class Program:
    """A program, the fixtures it is tried on, the verdicts that are right, and what differs from the rule.

    `tests` replaces the fixtures, `options` changes the reward, `needs` names a package that must be installed.
    """

    name: str
    fixtures: str
    source: str
    expected: str
    tests: tuple[dict[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    needs: str = ""

    def columns(self) -> dict[str, list[dict[str, Any]]]:
        """The column `tests` of each fixture, by name."""
        return {"own": list(self.tests)} if self.tests else {name: FIXTURES[name] for name in self.fixtures}

    def verdict(self, tests: list[dict[str, Any]], tier: str | None) -> str:
        """What the reward says, in two letters."""
        reward = replace(LIMITED, tier=tier, **dict(self.options))
        return letters(reward(sample(self.source, tests)))


def sample(source: str, tests: list[dict[str, Any]]) -> Sample:
    """A completion with this program in a block."""
    text = f"```python\n{source}\n```"
    return Sample([], Completion(text, None, text, 1, False), {"tests": tests}, "row")


def letters(score: Score) -> str:
    """A score as a verdict; one whose value contradicts it has none."""
    found = OUTCOMES[score.detail["outcome"]]
    value = 1.0 if found == "AC" else None if found in ("SF", "BT") else 0.0
    return found if score.value == value else f"{found} worth {score.value}"


def ret(expression: str, before: str = "") -> str:
    """`add` returns this."""
    return f"{before}\ndef add(a, b):\n    return {expression}\n"


def body(lines: str, before: str = "") -> str:
    """`add` does this."""
    return f"{before}\ndef add(a, b):\n" + "".join(f"    {line}\n" for line in lines.strip().splitlines())


def stdio(*pairs: tuple[str, str]) -> tuple[dict[str, Any], ...]:
    return tuple({"type": "stdio", "input": given, "output": gold} for given, gold in pairs)


def call(name: str, args: Sequence[Any], expected: Any, **more: Any) -> dict[str, Any]:
    return {"type": "call", "entry_point": name, "args": list(args), "expected": expected, **more}


def asserts(name: str, *lines: str) -> tuple[dict[str, Any], ...]:
    return ({"type": "assert", "entry_point": name, "code": "\n".join(lines)},)


SOLVE = "a, b = map(int, input().split())\nprint(a + b)\nprint(a * b)\n"
C = "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
EQUALS_ALL = (
    "class E({}):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = lambda s: 0\n"
)
FRAMES = (
    "import sys\nf, found = sys._getframe(), []\nwhile f:\n    found += [f.f_locals, f.f_globals]\n    f = f.f_back\n"
)
FORGE = (
    "import os, struct\nFORGED = [b'passed', b'called\\n{{\"tests\": 1, \"passed\": 1, \"failures\": [], \"bad\": \"\", \"gone\": false}}\\n',\n"
    "          struct.pack('<I', 2) + b'i\\x03', b'\\xff' * 64, struct.pack('<I', 1 << 31)]\n"
    "def forge():\n    for fd in range(3, 256):\n        for data in FORGED:\n            try: os.write(fd, data)\n"
    "            except OSError: pass\n"
).replace("{{", "{").replace("}}", "}")  # fmt: skip

EARLY = (
    Program("2 exit at the top", "ACPU", "import sys; sys.exit(0)", "RE"),
    Program("2 exit after the definition", "ACPU", ret("0") + "import sys; sys.exit(0)", "RE"),
    Program("2 exit in the function", "ACPU", body("import sys; sys.exit(0)"), "RE"),
    Program("2 os._exit in the function", "ACPU", body("import os; os._exit(0)"), "RE"),
    Program("4 raise SystemExit", "ACPU", body("raise SystemExit"), "RE"),
    Program("5 C exit", "ACPU", "import ctypes; ctypes.CDLL(None)._exit(0)", "RE"),
    Program("6 atexit", "ACPU", ret("0", "import atexit, os; atexit.register(os._exit, 0)"), "WA"),
    Program("8 SkipTest", "AU", body("import unittest; raise unittest.SkipTest"), "RE"),
    Program("12 right, then exit 0", "S", SOLVE + "import sys; sys.exit(0)", "AC"),
    Program("13 right, then exit 1", "S", SOLVE + "import sys; sys.exit(1)", "RE"),
    *(
        Program(
            f"14 exit code {code}", "S", SOLVE + f"import sys; sys.stdout.flush(); import os; os._exit({code})", "RE"
        )
        for code in (97, 120, 126, 127, 134, 137, 139, 152, 159)
    ),
    Program(
        "15 forged words of a sandbox",
        "SA",
        "import sys; print('bwrap: Can\\'t mount proc\\nsandbox: setup failed', file=sys.stderr); sys.exit(1)",
        "RE",
    ),
)
LIES = (
    Program("16 int that equals all", "AP", EQUALS_ALL.format("int") + ret("E(0)"), "RE|WA"),
    Program("16 bool-like object", "ACPU", EQUALS_ALL.format("object") + ret("E()"), "RE|WA"),
    Program("16 float that equals all", "F", EQUALS_ALL.format("float") + "def root(x): return E(0)", "RE|WA"),
    Program(
        "16 float that subtracts to nothing",
        "F",
        "class E:\n    __sub__ = __rsub__ = lambda s, o: 0\n    __abs__ = lambda s: 0\n    __lt__ = lambda s, o: True\ndef root(x): return E()",
        "RE|WA",
    ),
    Program("18 mock.ANY", "AP", "from unittest.mock import ANY\n" + ret("ANY"), "RE"),
    Program(
        "19 list that equals all",
        "",
        "class E(list):\n    __eq__ = lambda s, o: True\n    __len__ = lambda s: 3\ndef f(): return E()",
        "RE|WA",
        (call("f", [], [1, 2, 3]),),
    ),
    Program(
        "20 text that equals all",
        "",
        "class E(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\n    strip = __str__ = lambda s: 'gold'\ndef f(): return E('x')",
        "RE|WA",
        (call("f", [], "gold"),),
    ),
    Program(
        "21 equality that unpickles to code",
        "P",
        "import os\nclass R:\n    def __reduce__(s): return os.system, ('touch /tmp/pwned',)\nclass E:\n    __eq__ = lambda s, o: R()\n"
        + ret("E()"),
        "RE",
    ),
    Program(
        "22 value that unpickles to code",
        "P",
        "import os\nclass R:\n    def __reduce_ex__(s, n): return os.system, ('touch /tmp/pwned',)\n    def __getstate__(s): os.system('touch /tmp/pwned')\n"
        + ret("R()"),
        "RE",
    ),
    Program("23 posing class", "AP", "class E:\n    __class__ = property(lambda s: int)\n    __eq__ = lambda s, o: True\n" + ret("E()"), "RE|WA"),
    Program(
        "24 lazy answer",
        "A",
        "import sys\nclass E:\n    def __eq__(s, o):\n        return o == o\n    def __iter__(s): return iter(sys._getframe(1).f_locals.values())\n"
        + ret("E()"),
        "RE|WA",
    ),
    Program("25 cycle", "AP", body("x = []\nx.append(x)\nreturn x"), "RE"),
    Program("26 a million lists deep", "AP", body("x = []\nfor _ in range(10**6): x = [x]\nreturn x"), "RE"),
    Program("27 huge integer", "AP", ret("10 ** (10 ** 7)"), "WA|RE|TL"),
    Program("27 huge integer, quickly", "AP", ret("1 << (1 << 25)"), "WA|RE"),
    Program("28 huge list", "AP", ret("[0] * 200_000_000"), "ML|OL|RE"),
    Program("30 not a number", "P", ret("float('nan')"), "WA"),
    Program("30 not a number, expected", "", "def f(): return float('nan')", "WA", (call("f", [], float("nan")),)),
    Program("30 negative zero", "", "def f(): return -0.0", "AC", (call("f", [], 0.0),)),
    Program("31 text for a number", "AP", ret("str(a + b)"), "WA"),
    Program("31 tuple for a list", "", "def f(): return (1,)", "WA", (call("f", [], [1]),)),
    Program("31 tuple as a list", "", "def f(): return (1,)", "AC", (call("f", [], [1]),), (("tuple_as_list", True),)),
    Program("hash collisions", "AP", ret("{i * (2**61 - 1): 0 for i in range(50000)}"), "WA|RE|TL"),
)  # fmt: skip
NAMES = "('expected', 'exp', 'gt_out', 'outputs', 'gold', 'answer', 'value')"
ORACLE = (
    Program("33 frames for a value", "ACP", body(f"{FRAMES}for space in found:\n    for name in {NAMES}:\n        if name in space: return space[name]\nreturn 0"), "WA|RE"),
    Program("34 frames for a verdict", "ACP", body(f"{FRAMES}for space in found:\n    for value in list(space.values()):\n        if isinstance(value, list): value.append('passed')\n        if hasattr(value, 'value'): value.value = 0\nimport os; os._exit(0)"), "RE"),
    Program("35 objects beside the arguments", "P", body("import gc\nfor o in gc.get_objects():\n    if isinstance(o, (list, tuple)) and len(o) == 2 and type(o[1]) is int and o[0] == [a, b]: return o[1]\nreturn 0"), "WA"),
    Program(
        "36 memory scan",
        "",
        "import re\ndef f():\n    for line in open('/proc/self/maps'):\n        lo, hi = (int(x, 16) for x in line.split()[0].split('-'))\n        if ' r' not in line or hi - lo > 1 << 28: continue\n        try:\n            with open('/proc/self/mem', 'rb') as m:\n                m.seek(lo)\n                hit = re.search(b'GO' + b'LD-[0-9]+', m.read(hi - lo))\n        except (OSError, ValueError): continue\n        if hit: return hit[0].decode()\n    return 'nothing'",
        "WA|RE",
        (call("f", [], "GOLD-739204"),),
    ),
    Program(
        "36 memory scan by ctypes",
        "",
        "import ctypes, re\ndef f():\n    try: maps = open('/proc/self/maps').read()\n    except OSError: return 'nothing'\n    for line in maps.splitlines():\n        lo, hi = (int(x, 16) for x in line.split()[0].split('-'))\n        if ' rw' not in line or hi - lo > 1 << 27: continue\n        hit = re.search(b'GO' + b'LD-[0-9]+', ctypes.string_at(lo, hi - lo))\n        if hit: return hit[0].decode()\n    return 'nothing'",
        "WA|RE",
        asserts("f", "assert f() == 'GOLD-739204'"),
    ),
    Program("39 builtins replaced", "ACU", ret("0", "import builtins\nfor n in ('AssertionError', 'isinstance', 'len', 'sorted', 'all', 'exec', 'compile'):\n    setattr(builtins, n, lambda *a, **k: True)"), "WA|RE"),
    Program("39 abs replaced", "F", "import builtins, math\nbuiltins.abs = math.isclose = lambda *a: 0\ndef root(x): return 0.0", "WA|RE"),
    Program("42 open quotes", "AC", ret("0") + "x = '''", "RE"),
    Program("42 open bracket", "AC", ret("0") + "x = (", "RE"),
    Program("42 trailing backslash", "AC", ret("0") + "x = 1 \\", "RE|WA"),
    Program("42 swallows what follows", "AC", ret("0") + "if False:", "RE"),
    Program("43 trace function", "ACU", ret("0", "import sys\ndef t(f, e, a):\n    f.f_trace_lines = False\n    if 'candidate' in f.f_locals: f.f_locals['candidate'] = lambda *x: 3\n    return t\nsys.settrace(t); sys.setprofile(t)"), "WA|RE"),
    Program("44 unittest replaced", "U", ret("0", "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\nunittest.TestResult.wasSuccessful = lambda s: True\nunittest.TestCase.run = lambda *a: None"), "WA"),
    Program("45 files that Python would load", "AU", ret("0", "import os\nfor d in ('', os.path.expanduser('~/'), '/usr/lib/python3/dist-packages/'):\n    for n in ('conftest.py', 'sitecustomize.py', 'usercustomize.py', 'unittest.py', 'json.py', 'a.pth'):\n        try: open(d + n, 'w').write('import builtins; builtins.abs = None; raise SystemExit(0)')\n        except OSError: pass"), "WA"),
    Program("47 forged frames on import", "ACPU", FORGE + "forge()\n" + ret("0"), "WA|RE"),
    Program("47 forged frames in a call", "ACPU", FORGE + body("forge()\nreturn 0"), "WA|RE"),
    Program("47 forged frames by a thread", "ACPU", FORGE + "import threading, time\ndef loop():\n    while True: forge(); time.sleep(0.001)\nthreading.Thread(target=loop, daemon=True).start()\n" + body("time.sleep(0.02)\nreturn 0"), "WA|RE"),
    Program("49 alarms and handlers", "A", body("import signal\nsignal.alarm(0); signal.setitimer(signal.ITIMER_REAL, 0)\nfor s in (signal.SIGALRM, signal.SIGPROF, signal.SIGXCPU): signal.signal(s, signal.SIG_IGN)\nwhile True: pass"), "TL"),
    Program("50 clocks replaced", "A", body("t.time = t.perf_counter = t.monotonic = t.process_time = lambda: 0.0\nwhile True: pass", "import time as t"), "TL"),
    Program("53 list edited after the return", "", "import threading, time\nx = [0]\ndef edit():\n    time.sleep(0.05); x[0] = 3\ndef f():\n    threading.Thread(target=edit, daemon=True).start()\n    return x", "WA", (call("f", [], [3]),)),
    *(Program(f"54 answers by number of call, {'wrapping' if wraps else 'once'}", "APC", ret("ANSWERS[count() % 2]" if wraps else "ANSWERS[count()]", "ANSWERS, N = [3, 12], iter(range(9))\ndef count(): return next(N)"), "WA|RE") for wraps in (True, False)),
    Program("55 contradictory tests", "", ret("[3, 4][count() % 2]", "N = iter(range(9))\ndef count(): return next(N)"), "WA", asserts("add", "assert add(1, 2) == 3", "assert add(1, 2) == 4")),
    Program("55 contradictory calls", "", ret("[3, 4][count() % 2]", "N = iter(range(9))\ndef count(): return next(N)"), "WA", (call("add", [1, 2], 3), call("add", [1, 2], 4))),
    Program("56 knows one example", "ACP", body("if (a, b) == (1, 2): return 3"), "WA|RE"),
)  # fmt: skip
STREAMS = (
    Program("57 first line only", "S", "a, b = map(int, input().split())\nprint(a + b)", "WA"),
    Program("59 every number", "S", "print(*range(10 ** 5), sep='\\n')", "WA"),
    Program("right and more", "S", SOLVE + "print('junk')", "WA"),
    *(Program(f"60 {text} for 3", "", f"print({text!r})", "WA", ({"type": "stdio", "input": "", "output": "3\n", "float_tolerance": 1e-6},)) for text in ("nan", "inf", "1e400", "0x3", "٣", "3.1", "")),
    Program("60 nan for nan", "", "print('NaN')", "WA", ({"type": "stdio", "input": "", "output": "nan\n", "float_tolerance": 1e-6},)),
    Program("60 close, not declared", "", "print('3.0000001')", "WA", stdio(("", "3\n"))),
    Program("60 close, declared", "", "print('3.0000001')", "AC", ({"type": "stdio", "input": "", "output": "3\n", "float_tolerance": 1e-6},)),
    Program("63 command line of the parent", "S", "import os\nprint(open(open(f'/proc/{os.getppid()}/cmdline').read().split(chr(0))[1]).read())", "RE|WA"),
    Program("64 terminal", "S", "open('/dev/tty', 'w').write('x')", "RE|SV"),
    Program("64 output of the parent", "S", "import os; open(f'/proc/{os.getppid()}/fd/1', 'w').write('x')", "RE|SV"),
    Program("64 typing for the user", "S", "import fcntl; fcntl.ioctl(0, 0x5412, b'x')", "RE|SV"),
    Program("65 does not read its input", "", "print(3)", "AC", stdio(("x" * 5_000_000, "3\n"))),
    Program("68 right, then spins", "S", SOLVE + "import sys; sys.stdout.flush()\nwhile True: pass", "TL"),
    Program("71 leaves a child", "S", SOLVE + "import os, sys; sys.stdout.flush()\nif os.fork() == 0:\n    import time; time.sleep(60)", "RE"),
    Program("71 leaves a thread", "S", SOLVE + "import threading, time, sys; sys.stdout.flush()\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "AC"),
)  # fmt: skip
RESOURCES = (
    Program("74 spins", "AS", body("while True: pass") + "\nif __name__ == '__main__': add(1, 2)", "TL"),
    Program("sleeps", "", "import time\ndef add(a, b): time.sleep(60)", "TL", tuple(FIXTURES["P"]), (("wall_s", 1.0),)),
    Program("76 catches everything", "A", body("import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass"), "TL"),
    Program("77 memory", "A", body("x = []\nwhile True: x.append(bytearray(1 << 20))"), "ML|RE"),
    Program("77 memory, stdio", "S", "x = []\nwhile True: x.append(bytearray(1 << 20))", "ML"),
    Program("80 folded constants", "A", "x = 'a' * (1 << 40)\n" + ret("0"), "RE|ML"),
    Program("80 folded power", "A", "x = 9 ** 9 ** 9\n" + ret("0"), "RE|ML|TL"),
    Program("80 brackets", "A", "(" * 100_000 + ")" * 100_000, "RE|ML"),
    Program("80 large source", "A", "x = 1\n" * 2_000_000 + ret("0"), "RE|ML|TL|WA"),
    Program("80 NUL", "A", "x = 1\0\n" + ret("0"), "RE"),
    Program("80 lone surrogate", "A", "x = '\ud800'\n" + ret("0"), "RE|WA"),
    Program("81 endless recursion", "A", body("import sys; sys.setrecursionlimit(10 ** 7)\nreturn add(a, b)"), "RE|ML|TL"),
    Program("81 recursion in C", "A", body("import sys; sys.setrecursionlimit(10 ** 7)\nx = []\nfor _ in range(10 ** 6): x = [x]\nreturn repr(x)"), "RE|ML|TL"),
    Program("82 null pointer", "A", body("import ctypes; ctypes.string_at(0)"), "RE"),
    Program("82 abort", "A", body("import os; os.abort()"), "RE"),
    *(Program(f"84 {name}", "A", body(f"{code}\nreturn a + b"), "RE|SV") for name, code in (
        ("fork", "import os\nwhile True: os.fork()"),
        ("subprocess", "import subprocess; subprocess.run(['/bin/true'])"),
        ("multiprocessing", "import multiprocessing as m; m.get_context('fork').Process(target=print).start()"),
        ("posix_spawn", "import os; os.posix_spawn('/bin/true', ['true'], {})"),
        ("call 57", "import ctypes; c = ctypes.CDLL(None)\nif c.syscall(57) < 0: raise OSError"),
        ("call 58", "import ctypes; c = ctypes.CDLL(None)\nif c.syscall(58) < 0: raise OSError"),
        ("call 56", "import ctypes; c = ctypes.CDLL(None)\nif c.syscall(56, 17, 0, 0, 0, 0) < 0: raise OSError"),
        ("call 435", "import ctypes; c = ctypes.CDLL(None)\nif c.syscall(435, bytes(88), 88) < 0: raise OSError"),
    )),
    Program("85 disk", "A", body("i = 0\nwhile True:\n    open(str(i), 'wb').write(bytes(1 << 20)); i += 1"), "RE|TL"),
    Program("85 other folders", "A", body("n = 0\nfor d in ('/tmp', '/dev/shm', '/dev', '/', '/var/tmp'):\n    try: open(d + '/x', 'wb').write(bytes(1 << 20)); n += 1\n    except OSError: pass\nif n == 0: raise OSError\nreturn a + b"), "RE"),
    Program("85 a million files", "A", body("for i in range(10 ** 6): open(str(i), 'w').close()\nreturn a + b"), "RE|TL"),
    Program("85 sparse file", "A", body("open('x', 'wb').truncate(1 << 40)\nreturn a + b"), "RE"),
    Program("86 regular expression", "A", body("import re; re.match('(a+)+$', 'a' * 40 + 'b')"), "TL"),
    Program("floods its output", "S", "while True: print('x' * 65536)", "OL"),
    Program("floods its output in a call", "A", body("while True: print('x' * 65536)"), "OL"),
)  # fmt: skip


def blocked(*calls: str) -> str:
    """Right answers only for a program that gets one of these through."""
    lines = "".join(
        f"try:\n    {call}\n    n += 1\nexcept (OSError, ValueError, PermissionError): pass\n" for call in calls
    )
    return body(f"import os, resource, socket\nn = 0\n{lines}if n == 0: raise OSError\nreturn a + b")


def escapes(facts: dict[str, Any]) -> tuple[Program, ...]:
    """Attempts on what the tester has put up: see `Host` in the tests."""
    canary, port, name = facts["canary"], facts["port"], facts["abstract"]
    sockets = [
        f"socket.create_connection(('127.0.0.1', {port}), 1)",
        f"socket.create_connection(('::1', {port}), 1)",
        f"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', {facts['udp']}))",
        f"s = socket.socket(socket.AF_UNIX); s.connect({name!r})",
        "socket.getaddrinfo('example.com', 80)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    ]
    files = [
        f"open({canary!r}, 'a').write('x')", f"os.chmod({canary!r}, 0o777)", f"os.chown({canary!r}, 0, 0)", f"os.utime({canary!r}, (1, 1))",
        f"os.setxattr({canary!r}, 'user.a', b'x')", f"os.rename({canary!r}, {canary!r} + 'x')", f"os.link({canary!r}, {canary!r} + 'x')",
        f"os.symlink({canary!r}, {canary!r} + 'y')", f"os.truncate({canary!r}, 0)", f"os.unlink({canary!r})", f"os.mknod({canary!r} + 'z')",
        f"os.mkdir({canary!r} + 'd')", f"os.open({canary!r}, os.O_WRONLY)",
    ]  # fmt: skip
    parent = [
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))", "os.sched_setaffinity(os.getppid(), {0})",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)", "open(f'/proc/{os.getppid()}/oom_score_adj', 'w').write('1000')",
        "os.kill(os.getppid(), 9)", f"os.kill({facts['pid']}, 0)", f"os.kill({facts['sibling']}, 9)", "os.killpg(0, 0)",
        "open(f'/proc/{os.getppid()}/mem', 'rb')", "open(f'/proc/{os.getppid()}/environ', 'rb')",
    ]  # fmt: skip
    return (
        Program("read the canary file", "A", blocked(f"open({canary!r}).read()"), "RE"),
        Program("read the environment", "A", blocked("os.environ['CANARY_TOKEN']".replace("os.environ[", "os.environ.__getitem__(").replace("]", ")") + " if 'CANARY_TOKEN' in os.environ else int('x')"), "RE"),
        *(Program(f"89 {code[:40]}", "A", blocked(code), "RE") for code in sockets),
        *(Program(f"92 {code.partition('(')[0]}", "A", blocked(code), "RE") for code in files),
        *(Program(f"94 {code[:48]}", "A", blocked(code), "RE") for code in parent),
        Program("90 io_uring", "A", body("c.syscall(425, 4, bytes(120))\nreturn a + b", C), "SV"),
        Program("ptrace", "A", body("c.ptrace(16, 1, 0, 0)\nreturn a + b", C), "SV"),
        Program("process_vm_readv", "A", body("c.syscall(310, 1, 0, 0, 0, 0, 0)\nreturn a + b", C), "SV"),
        Program("96 setuid", "A", body("import os\nos.setuid(0)\nreturn a + b" if facts["uid"] else "import os\nos.setuid(0); os.setgid(0)\nopen('/etc/shadow')\nreturn a + b"), "RE|SV"),
        *(Program(f"96 call {number}", "A", body(f"if c.syscall({number}, 0x10000000, 0, 0, 0, 0) < 0: raise OSError\nreturn a + b", C), "RE|SV") for number in (272, 308, 165, 155, 161, 321, 250, 323, 298, 304, 175)),
        Program("98 its own limits", "A", blocked(*(f"h = resource.getrlimit(resource.{what})[1]; resource.setrlimit(resource.{what}, (h + 1, h + 1))" for what in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE"))), "RE"),
        Program("none-fishing: kills itself", "AS", "import os\nos.kill(os.getpid(), 9)\nos.abort()", "RE"),
        Program("none-fishing: floods the grader", "ACPU", "import os, struct\nn = (8 << 20) // 5 - 9\nbody = b'l' + struct.pack('<I', n) + (b'S' + bytes(4)) * n\ndata = struct.pack('<I', len(body)) + body\nfor fd in range(3, 10):\n    try:\n        rest = data\n        while rest: rest = rest[os.write(fd, rest):]\n    except OSError: pass\n" + ret("0"), "RE|WA|TL|ML"),
        Program("none-fishing: closes everything", "ACPUS", "import os\nos.closerange(0, 256)\n" + ret("0"), "RE|WA"),
    )  # fmt: skip


LRU = "class LRU:\n    def __init__(self, n): self.n, self.d = n, {}\n    def get(self, k):\n        if k not in self.d: return -1\n        self.d[k] = self.d.pop(k); return self.d[k]\n    def put(self, k, v):\n        self.d.pop(k, None); self.d[k] = v\n        if len(self.d) > self.n: self.d.pop(next(iter(self.d)))\n"
BIG = int("7" * 100_000) if not hasattr(sys, "set_int_max_str_digits") else 7 * (10**100_000 - 1) // 9
HONEST = (
    Program("honest function", "ACPU", ret("a + b"), "AC"),
    Program("honest float", "F", "def root(x): return x ** 0.5", "AC"),
    Program("honest stdio", "S", SOLVE, "AC"),
    Program("asyncio", "S", "import asyncio\nasync def main():\n    await asyncio.sleep(0.01)\n    a, b = map(int, input().split()); print(a + b); print(a * b)\nasyncio.run(main())", "AC"),
    Program("asyncio in a function", "AP", "import asyncio\nasync def go(a, b):\n    await asyncio.sleep(0)\n    return a + b\n" + ret("asyncio.run(go(a, b))"), "AC"),
    Program("socket pair", "A", body("import socket\nx, y = socket.socketpair(); x.send(bytes([a + b])); return y.recv(1)[0]"), "AC"),
    Program("thread pool", "AP", "from concurrent.futures import ThreadPoolExecutor\n" + body("with ThreadPoolExecutor(4) as pool: return sum(pool.map(int, [a, b]))"), "AC"),
    Program("cached deep recursion", "AP", "import sys, functools\nsys.setrecursionlimit(20_000)\n@functools.lru_cache(None)\ndef down(n): return 0 if n == 0 else down(n - 1)\n" + ret("a + b + down(5000)"), "AC"),
    Program("recursion 100,000 deep", "AP", "import sys\nsys.setrecursionlimit(300_000)\ndef down(n): return 0 if n == 0 else down(n - 1)\n" + ret("a + b + down(100_000)"), "AC"),
    *(Program(f"input by {name}", "S", source, "AC") for name, source in (
        ("buffer", "import sys\na, b = map(int, sys.stdin.buffer.read().split())\nprint(a + b, a * b, sep='\\n')"),
        ("iteration", "import sys\nfor line in sys.stdin: a, b = map(int, line.split())\nprint(a + b, end='\\n'); print(a * b, end='')"),
        ("readline, then input", "import sys\nx = sys.stdin.readline()\na, b = map(int, x.split())\nprint(a + b); print(a * b)\ntry: input()\nexcept EOFError: pass"),
        ("open(0)", "a, b = map(int, open(0).read().split())\nprint(a + b); print(a * b)"),
    )),
    *(Program(f"ends with {end}", "S", SOLVE + end, "AC") for end in ("exit()", "quit()", "import sys; sys.exit()", "raise SystemExit(0)")),
    Program("main guard", "S", "def main():\n    a, b = map(int, input().split()); print(a + b); print(a * b)\nif __name__ == '__main__': main()", "AC"),
    Program("scratch file", "AS", "open('note.txt', 'w').write('7')\nassert open('note.txt').read() == '7'\n" + ret("a + b") + "if __name__ == '__main__':\n    a, b = map(int, input().split()); print(a + b); print(a * b)", "AC"),
    Program("standard library", "AP", "import decimal, fractions, heapq, re, json, bisect, collections, itertools, math, string, statistics, datetime, hashlib, copy, typing, dataclasses\n" + ret("int(decimal.Decimal(a) + b)"), "AC"),
    *(Program(f"returns {name}", "", f"def f(): return {expression}", "AC", (call("f", [], value),)) for name, expression, value in (
        ("a tuple", "(1, 'a', None)", (1, "a", None)), ("a set", "{1, 2}", {1, 2}), ("a dict with int keys", "{1: [2.5], 2: {}}", {1: [2.5], 2: {}}),
        ("bytes", "b'\\x00\\xff'", b"\x00\xff"), ("complex", "1 + 2j", 1 + 2j), ("nothing", "None", None), ("a nest", "[[[(1, {2: {3}})]]]", [[[(1, {2: {3}})]]]),
        ("a big integer", "7 * (10 ** 100_000 - 1) // 9", BIG), ("a frozenset", "frozenset([1])", frozenset([1])),
    )),
    Program("generator", "", "def f(n):\n    for i in range(n): yield i", "AC", (call("f", [3], [0, 1, 2], as_list=True),)),
    Program("in place", "", "def f(x): x.sort()", "AC", (call("f", [[3, 1, 2]], [1, 2, 3], in_place=0),)),
    Program("method of a class", "", "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b", "AC", (call("Solution.add", [1, 2], 3),)),
    Program("class with state", "", LRU, "AC", asserts("LRU", "c = LRU(2)", "c.put(1, 1)", "c.put(2, 2)", "assert c.get(1) == 1", "c.put(3, 3)", "assert c.get(2) == -1", "assert c.get(1) == 1")),
    Program("class with state, wrong", "", LRU.replace("self.n:", "self.n + 1:"), "WA", asserts("LRU", "c = LRU(2)", "c.put(1, 1)", "c.put(2, 2)", "assert c.get(1) == 1", "c.put(3, 3)", "assert c.get(2) == -1")),
    Program("expected exception", "", "class Mine(ValueError): pass\ndef f(x):\n    if x < 0: raise Mine('negative')\n    return x", "AC", asserts("f", "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass", "assert f(1) == 1")),
    Program("2 MiB of output", "", "for i in range(1 << 18): print('1234567')", "AC", stdio(("", "1234567\n" * (1 << 18))), (("output_bytes", 4 << 20),)),
    Program("5 MB of input", "", "import sys\nprint(len(sys.stdin.read()))", "AC", stdio(("x" * 5_000_000, "5000000"))),
    Program("seeded random numbers", "", "import random\nrandom.seed(0)\nX = random.random()\ndef f():\n    random.seed(0)\n    return random.random() == X", "AC", (call("f", [], True), call("f", [], True))),
    Program("suspicious words", "APS", "# import os, exit(0), multithreading\nX = 'import os; sys.exit(0)'\n" + ret("a + b") + "if __name__ == '__main__':\n    a, b = map(int, input().split()); print(a + b); print(a * b)", "AC"),
    Program("prints while called", "ACPU", "print('loaded')\n" + body("print(a)\nreturn a + b"), "AC"),
)  # fmt: skip
GENERATED = (call("f", [3], [0, 1, 2], as_list=True),)
GENERATORS = (
    Program("generator without end", "", "def f(n):\n    while True: yield n", "RE|TL|ML", GENERATED),
    Program("generator that sleeps", "", "import time\ndef f(n):\n    yield 0\n    time.sleep(60)", "TL", GENERATED, (("wall_s", 1.0),)),
    Program("generator that ends the process", "", "def f(n):\n    yield from range(n)\n    raise SystemExit(0)", "RE", GENERATED),
    Program("generator of lies", "", EQUALS_ALL.format("int") + "def f(n):\n    for i in range(n): yield E(i)", "RE|WA", GENERATED),
    Program("generator that raises at its end", "", "def f(n):\n    yield from range(n)\n    raise ValueError", "RE|WA", GENERATED),
    Program("generator where a value is asked for", "", "def f(n):\n    yield 3", "RE|WA", (call("f", [3], 3),)),
    Program("generator in test code", "", "def f(n):\n    yield from range(n)", "RE|WA", asserts("f", "assert f(3) == [0, 1, 2]")),
    Program("lazy map", "", "def f(n): return map(int, range(n))", "AC", GENERATED),
    Program("generator behind a list", "", "def g(n):\n    yield from range(n)\ndef f(n): return list(g(n))", "AC", asserts("f", "assert f(3) == [0, 1, 2]")),
)  # fmt: skip
COUNT = "N = 0\ndef count():\n    global N\n    N += 1\n    return N\n"
COUNTERS = (
    Program("counts its calls, honestly", "ACPU", COUNT + body("count()\nreturn a + b"), "AC"),
    Program("remembers its calls, honestly", "ACP", "import functools\n@functools.cache\n" + ret("a + b"), "AC"),
    Program("right at the first call only", "ACP", COUNT + ret("a + b if count() == 1 else 0"), "WA|RE"),
    Program("right but at the last call", "", COUNT + ret("a + b if count() < 4 else 0"), "WA|RE", tuple(FIXTURES["P"] * 2)),
    Program("answers by number of call, kept in a file", "APC", body("open('n', 'a').write('x')\nreturn [3, 12][len(open('n').read()) % 2 - 1]"), "WA|RE"),
    Program("answers by clock", "AP", "import time\nT = time.perf_counter()\n" + ret("[3, 12][time.perf_counter() - T > 0.0002]"), "WA|RE"),
)  # fmt: skip


def with_numpy(name: str, source: str, expected: str, fixtures: str = "AP") -> Program:
    """A program that may import numpy."""
    options = (("packages", ("numpy",)), ("memory_mb", 1024))
    return Program(
        f"numpy: {name}", fixtures, "import numpy as np\n" + source, expected, options=options, needs="numpy"
    )


NUMPY = (
    with_numpy("honest", ret("int(np.array([a, b]).sum())"), "AC"),
    with_numpy("linear algebra", ret("int(round(float(np.linalg.solve(np.eye(2), np.array([a, b])).sum())))"), "AC"),
    with_numpy("random numbers", body("np.random.default_rng(0).random(9)\nreturn a + b"), "AC"),
    with_numpy("scratch file", body("np.save('x.npy', np.array([a + b]))\nreturn int(np.load('x.npy')[0])"), "AC"),
    with_numpy("its own integers", ret("np.int64(a + b)"), "RE|WA"),
    with_numpy("its own truth", ret("np.True_"), "RE|WA"),
    with_numpy("array", ret("np.array([a + b])"), "RE|WA"),
    with_numpy("array that equals all", "class E(np.ndarray):\n    __eq__ = lambda s, o: True\n" + ret("np.zeros(1).view(E)"), "RE|WA"),
    with_numpy("patched comparison", ret("0", "np.equal = np.isclose = np.allclose = lambda *a, **k: True"), "WA"),
    with_numpy("memory", ret("int(np.ones(1 << 28).sum())"), "ML|RE"),
    with_numpy("pickled file", "import os\nclass R:\n    def __reduce__(s): return os.system, ('touch /tmp/pwned',)\n" + body("np.save('x.npy', np.array([R()], dtype=object))\nnp.load('x.npy', allow_pickle=True)\nreturn 0"), "WA|RE"),
    with_numpy("host files", body("return int(np.fromfile('/etc/passwd', dtype=np.uint8).sum() * 0) + a + b"), "RE"),
    with_numpy("other packages", body("import os\nd = os.path.dirname(os.path.dirname(np.__file__))\nopen(d + '/pytest/__init__.py').read()\nimport pytest\nreturn a + b"), "RE"),
    with_numpy("writes to the package", body("open(np.__file__, 'a').write('x')\nreturn a + b"), "RE"),
    Program("numpy where it is not given", "A", "import numpy\n" + ret("a + b"), "RE", needs="numpy"),
)  # fmt: skip
FIXED = (*EARLY, *LIES, *ORACLE, *STREAMS, *RESOURCES, *HONEST, *GENERATORS, *COUNTERS, *NUMPY)


def wrong_verdicts(
    programs: Sequence[Program], tier: str | None, is_installed: Callable[[str], bool] = lambda name: False
) -> list[str]:
    """All programs on all of their fixtures; one line for each verdict that is not right."""
    wrong = []
    for program in programs:
        for fixture, tests in program.columns().items() if not program.needs or is_installed(program.needs) else ():
            found = program.verdict(tests, tier)
            if found not in program.expected.split("|"):
                wrong.append(f"{program.name} [{fixture}]: {found}, expected {program.expected}")
    return wrong


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    table = (*FIXED, *escapes(given["facts"]))
    found_wrong = wrong_verdicts(table, None)
    from reasoning_rl_rewards.code_tests.sandboxes import shared_sandbox

    sandbox = shared_sandbox("python", None, None, (), LIMITED.scratch_mb)
    assert isinstance(sandbox, LocalSandbox)
    used = sandbox.tier.name
    sys.stdout.write(json.dumps({"tier": used, "num_programs": len(table), "wrong": found_wrong}))
