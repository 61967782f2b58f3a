"""Programs that try to get marks they have not earned, or to reach the host: what the reward `code_tests` must say of each.
Also a script, which runs them and the honest ones as another user or inside an outer filter.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from attack_kit import EQUALS_ALL, FIXTURES, LIMITED, SOLVE, C, Program, asserts, body, call, ret, stdio, wrong_verdicts
from code_honest import COUNTERS, GENERATORS, HONEST, NUMPY, OBJECTS

from reasoning_rl.sandbox import LocalSandbox

#: Half a gigabyte takes a slow machine more than a second to write to.
TIME_TO_FILL = (("cpu_s", 8.0), ("wall_s", 20.0))
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
    Program("26 a million lists deep", "AP", body("x = []\nfor _ in range(10**6): x = [x]\nreturn x"), "RE", options=TIME_TO_FILL),
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
    Program("77 memory", "A", body("x = []\nwhile True: x.append(bytearray(1 << 20))"), "ML|RE", options=TIME_TO_FILL),
    Program("77 memory, stdio", "S", "x = []\nwhile True: x.append(bytearray(1 << 20))", "ML", options=TIME_TO_FILL),
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

SANDBOX = "import sys\nc = sys.modules['reasoning_rl.sandbox.codec']\n"
DESCRIPTORS = (
    Program("none-fishing: kills itself", "AS", "import os\nos.kill(os.getpid(), 9)\nos.abort()", "RE"),
    Program("none-fishing: floods the grader", "ACPU", "import os, struct\nn = (8 << 20) // 5 - 9\nbody = b'l' + struct.pack('<I', n) + (b'S' + bytes(4)) * n\ndata = struct.pack('<I', len(body)) + body\nfor fd in range(3, 10):\n    try:\n        rest = data\n        while rest: rest = rest[os.write(fd, rest):]\n    except OSError: pass\n" + ret("0"), "RE|WA|TL|ML"),
    Program("none-fishing: closes everything", "ACPUS", "import os\nos.closerange(0, 256)\n" + ret("0"), "RE|WA"),
    Program("a handle of its own", "ACU", SANDBOX + ret("[c.Handle(12345)]"), "WA|RE"),
    Program("its own codec patched", "ACPU", SANDBOX + "class E(list):\n    __eq__ = lambda s, o: True\nc._TAGS[E] = b'l'\n" + ret("E([3])"), "WA|RE"),
    Program("connection replaced", "ACP", body("import os, socket\nx, y = socket.socketpair()\nos.dup2(x.fileno(), 4)\nreturn 3"), "RE|WA|TL", options=(("wall_s", 1.0),)),
    Program("connection closed for writing", "ACP", body("import socket\nsocket.socket(fileno=4).shutdown(socket.SHUT_RDWR)\nreturn 3"), "RE|WA"),
    Program("half an answer", "AP", body("import os, time\nos.write(4, b'\\x10\\0\\0\\0ab')\ntime.sleep(60)"), "TL|RE", options=(("wall_s", 1.0),)),
    Program("descriptors for the grader", "AP", body("import array, socket\ns = socket.socket(fileno=4)\ns.sendmsg([b'\\0'], [(1, 1, array.array('i', [0, 1, 2] * 20))])\ns.detach()\nreturn 3"), "RE|WA|TL", options=(("wall_s", 1.0),)),
    Program("descriptors on their way", "A", body("import array, os, socket\nx, y = socket.socketpair()\nx.setblocking(False)\nfor i in range(10 ** 5):\n    fd = os.open('/dev/null', 0)\n    x.sendmsg([b'x'], [(1, 1, array.array('i', [fd]))]); os.close(fd)\nreturn 0"), "RE|WA"),
    Program("all descriptors", "A", body("import os\nx = []\nwhile True: x.append(os.pipe())"), "RE"),
    Program("input opened for writing", "S", "import os\nfd = os.open('/proc/self/fd/0', os.O_RDWR)\nos.ftruncate(fd, 0)", "RE"),
    Program("locked folders", "AP", body("import os\nos.umask(0o777)\nos.mkdir('d'); open('f', 'w').close()\nreturn 0"), "WA|RE"),
    Program("names that are no text", "A", body("import os\nos.mkdir(b'\\xff'); open(b'\\xff/\\xfe\\n', 'w').close()\nreturn 0"), "WA|RE"),
    Program("its folder moved", "A", body("import os\nos.rename(os.getcwd(), os.getcwd() + 'x')\nreturn a + b"), "RE"),
    Program("folders of others", "A", body("import os\nos.listdir(os.path.dirname(os.getcwd()))\nreturn a + b"), "RE"),
    Program("own processor limit lowered", "AS", "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass", "RE|TL|SV", options=(("cpu_s", 3.0),)),
    Program("own limit of files lowered", "ACPU", "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\n" + ret("0"), "WA|RE"),
    *(Program(f"upper half of a register: {name}", "A", body(f"import os\nc.syscall.argtypes = [ctypes.c_long] * 3\nif c.syscall({arguments}) < 0: raise OSError\nreturn a + b", C), "RE|SV") for name, arguments in (
        ("number of the call", "(1 << 32) + 57, 0, 0"), ("process", "62, (1 << 32) | os.getppid(), 0"), ("flags of clone", "56, (1 << 33) | 17, 0"),
    )),
    Program("32-bit call by machine code", "A", body("import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\xb8\\x02\\0\\0\\0\\xcd\\x80\\xc3')\nif ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))() < 0: raise OSError\nreturn a + b"), "RE|SV"),
    Program("exception whose arguments lie", "ACP", "class X(Exception):\n    args = property(lambda s: sys.exit(0))\nimport sys\n" + body("raise X"), "RE|WA"),
    Program("late exit by a timer", "AP", body("import faulthandler, time\nfaulthandler.dump_traceback_later(0.05, exit=True)\ntime.sleep(1)\nreturn 0"), "RE|WA"),
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
    )  # fmt: skip


FIXED = (*EARLY, *LIES, *ORACLE, *STREAMS, *RESOURCES, *DESCRIPTORS, *HONEST, *OBJECTS, *GENERATORS, *COUNTERS, *NUMPY)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    table = (*FIXED, *escapes(given["facts"]))
    found_wrong = wrong_verdicts(table, None)
    from reasoning_rl_rewards.code_tests.sandboxes import shared_sandbox

    sandbox = shared_sandbox("python", None, None, (), LIMITED.scratch_mb)
    assert isinstance(sandbox, LocalSandbox)
    used = sandbox.tier.name
    sys.stdout.write(json.dumps({"tier": used, "num_programs": len(table), "wrong": found_wrong}))
