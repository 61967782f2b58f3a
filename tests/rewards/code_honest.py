"""Honest programs that the reward `code_tests` must not mistake for attacks, and programs that look like them and are not."""

from __future__ import annotations

import sys

from attack_kit import EQUALS_ALL, FIXTURES, SOLVE, Program, asserts, body, call, ret, stdio

#: CPython 3.12 and later have a limit of their own for calls through C, such as `lru_cache`'s, whatever `setrecursionlimit` says.
CACHED_RECURSION = "AC" if sys.version_info < (3, 12) else "AC|RE"
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
    Program("cached deep recursion", "AP", "import sys, functools\nsys.setrecursionlimit(20_000)\n@functools.lru_cache(None)\ndef down(n): return 0 if n == 0 else down(n - 1)\n" + ret("a + b + down(5000)"), CACHED_RECURSION),
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
NODE = "class Node:\n    def __init__(self, v, n=None): self.v, self.next = v, n\ndef build(xs):\n    h = None\n    for x in reversed(xs): h = Node(x, h)\n    return h\n"
STACK = "class Stack:\n    def __init__(self): self.x = []\n    def push(self, v): self.x.append(v)\n    def pop(self):\n        if not self.x: raise IndexError('empty')\n        return self.x.pop()\n    def __len__(self): return len(self.x)\n    def __repr__(self): return f'Stack({self.x})'\n    @property\n    def top(self): return self.x[-1]\n    @classmethod\n    def of(cls, *values):\n        s = cls()\n        for v in values: s.push(v)\n        return s\n"
STACK_UNIT = "import unittest\nclass T(unittest.TestCase):\n    def setUp(self): self.s = Stack()\n    def test_empty(self):\n        self.assertFalse(self.s)\n        with self.assertRaises(IndexError): self.s.pop()\n    def test_push(self):\n        for i in range(3):\n            with self.subTest(i=i): self.s.push(i)\n        self.assertEqual((len(self.s), self.s.top), (3, 2))\n        self.assertIsInstance(self.s, Stack)\nif __name__ == '__main__':\n    unittest.main()\n"
BOTH = "if __name__ == '__main__':\n    a, b = map(int, input().split()); print(a + b); print(a * b)"
OBJECTS = (
    Program("linked list", "", NODE, "AC", asserts("build", "node, k = build(list(range(500))), 0", "while node:\n    k += node.v\n    node = node.next", "assert k == 124750")),
    Program("class, in asserts", "", STACK, "AC", asserts("Stack", "s = Stack.of(1, 2)", "assert repr(s) == 'Stack([1, 2])'", "assert s.pop() == s.top + 1", "assert isinstance(s, Stack) and s")),
    Program("class, in unittest", "", STACK, "AC", ({"type": "unittest", "entry_point": "Stack", "code": STACK_UNIT},)),
    Program("closure", "", "def f(n): return lambda x: x + n", "AC", asserts("f", "assert f(2)(3) == 5")),
    Program("generator, in asserts", "", "def f(n): yield from range(n)", "AC", asserts("f", "assert list(f(3)) == [0, 1, 2]", "assert sum(f(5)) == 10")),
    Program("generator without end, in asserts", "", "import itertools\ndef f(): return itertools.count()", "AC", asserts("f", "import itertools", "assert list(itertools.islice(f(), 3)) == [0, 1, 2]")),
    Program("powers of two", "", "def f(): return {1 << i for i in range(300)}", "AC", (call("f", [], {1 << i for i in range(300)}),)),
    Program("powers of two, in asserts", "", "def f(): return {2 ** i: i for i in range(200)}", "AC", asserts("f", "assert f() == {2 ** i: i for i in range(200)}")),
    Program("wide steps", "", "def f(): return {i << 40 for i in range(1000)}", "AC", (call("f", [], {i << 40 for i in range(1000)}),)),
    Program("function that ends never, as value", "AC", ret("print"), "WA|RE"),
    Program("iterator that equals all", "AC", "class E:\n    __eq__ = lambda s, o: True\n    __iter__ = lambda s: s\n    __next__ = lambda s: 3\n" + ret("E()"), "WA|RE"),
    Program("context that swallows", "", "class f:\n    __enter__ = lambda s: s\n    __exit__ = lambda s, *a: True\n", "WA|RE", asserts("f", "with f():\n    assert 1 == 2")),
    Program("endless items", "", "class E:\n    __iter__ = lambda s: s\n    __next__ = lambda s: 0\ndef f(): return E()", "TL|RE|ML", asserts("f", "assert list(f()) == [1]")),
    *(Program(f"input and output by {name}", "S", source, "AC") for name, source in (
        ("devices", "a, b = map(int, open('/dev/stdin').read().split())\nwith open('/dev/stdout', 'w') as f: f.write(f'{a + b}\\n{a * b}\\n')"),
        ("mapped memory", "import mmap\na, b = map(int, mmap.mmap(0, 0, access=mmap.ACCESS_READ).readline().split())\nprint(a + b); print(a * b)"),
        ("size of the file", "import os, io, sys\nsys.stdin = io.TextIOWrapper(io.BytesIO(os.read(0, os.fstat(0).st_size)))\n" + SOLVE),
        ("fileinput", "import fileinput\nfor line in fileinput.input():\n    a, b = map(int, line.split()); print(a + b); print(a * b)"),
        ("a large stack", "import sys, threading\nsys.setrecursionlimit(10 ** 6)\nthreading.stack_size(1 << 27)\ndef main():\n    def f(n): return 0 if n == 0 else 1 + f(n - 1)\n    assert f(50_000) == 50_000\n    a, b = map(int, input().split()); print(a + b); print(a * b)\nt = threading.Thread(target=main); t.start(); t.join()"),
        ("carriage returns", "a, b = map(int, input().split())\nprint(a + b, end='\\r\\n'); print(a * b, end=' \\r\\n\\n')"),
    )),
    Program("temporary files", "AS", "import tempfile\nwith tempfile.TemporaryDirectory() as d: open(d + '/x', 'w').write('y')\nwith tempfile.TemporaryFile() as f: f.write(b'x')\n" + ret("a + b") + BOTH, "AC"),
    Program("facts about the machine", "AP", ret("a + b", "import os, platform, uuid, secrets\nos.cpu_count(); platform.platform(); uuid.uuid1(); uuid.uuid4(); secrets.token_hex()"), "AC"),
    Program("byte order mark", "ACPU", "\ufeff" + ret("a + b"), "AC"),
    Program("tests of its own", "ACPU", "import unittest, doctest\ndef add(a, b):\n    '''\n    >>> add(1, 2)\n    3\n    '''\n    return a + b\nassert add(1, 2) == 3\ndoctest.testmod()\nif __name__ == '__main__': unittest.main()", "AC"),
    Program("pickles its own objects", "AP", "import pickle\nclass Q: pass\n" + body("q = Q(); q.x = a\nreturn pickle.loads(pickle.dumps(q)).x + b"), "AC"),
)  # fmt: skip
