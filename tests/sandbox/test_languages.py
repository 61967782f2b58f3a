"""C++ and JavaScript: what runs, what is held back, and what is said where the tools are missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.errors import RewardPluginError, SandboxError
from reasoning_rl.plugins import resolve
from reasoning_rl.sandbox import LanguageSandbox, Limits, Outcome, tiers
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl_rewards.code_tests import CodeTests

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")


def has_cpp() -> str:
    """Why C++ cannot be run here; empty when it can."""
    if shutil.which("g++") is None:
        return "g++ is not on PATH"
    try:
        LanguageSandbox("cpp", parallel=1).close()
    except SandboxError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def cpp() -> Iterator[LanguageSandbox]:
    if problem := has_cpp():
        pytest.skip(problem)
    with_cpp = LanguageSandbox("cpp", parallel=1)
    yield with_cpp
    with_cpp.close()


@pytest.fixture(scope="module", params=["T1", "T2"])
def node(request: pytest.FixtureRequest) -> Iterator[LanguageSandbox]:
    if shutil.which("node") is None:
        pytest.skip("node is not on PATH")
    try:
        with_node = LanguageSandbox("javascript", tier=request.param, parallel=1)
    except SandboxError as error:
        pytest.skip(str(error))
    yield with_node
    with_node.close()


LIMITS = Limits(cpu_s=1.0, wall_s=30.0, memory_mb=256, output_bytes=1 << 16)
SUM_CPP = "#include <iostream>\nint main() { long long a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }"
SUM_JS = "const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number);\nconsole.log(a + b);"
INCLUDES = "#include <bits/stdc++.h>\n#include <unistd.h>\n#include <fcntl.h>\n#include <sys/socket.h>\n#include <sys/ptrace.h>\n#include <sys/stat.h>\nusing namespace std;\n"


@pytest.mark.parametrize(
    ("program", "outcome", "stdout"),
    [
        (SUM_CPP, Outcome.EXITED, b"12\n"),
        ("thread t([] { puts(\"hi\"); }); t.join();", Outcome.EXITED, b"hi\n"),
        ("vector<int> v(1000000, 2); cout << accumulate(v.begin(), v.end(), 0);", Outcome.EXITED, b"2000000"),
        ("return 3;", Outcome.RUNTIME_ERROR, b""),
        ("int *p = nullptr; *p = 1;", Outcome.RUNTIME_ERROR, b""),
        ("this is no C++", Outcome.RUNTIME_ERROR, b""),
        ("volatile int x = 0; for (;;) x++;", Outcome.TIME_LIMIT, b""),
        ("string s(1000, 'x'); for (;;) cout << s;", Outcome.OUTPUT_LIMIT, None),
        ("vector<string> v; for (;;) v.push_back(string(1 << 20, 'x'));", Outcome.MEMORY_LIMIT, b""),
        ("ptrace(PTRACE_TRACEME, 0, 0, 0);", Outcome.SECURITY_VIOLATION, b""),
        # What is refused shows as -1; -1 + 49 is '0'.
        ("putchar(fork() + 49);", Outcome.EXITED, b"0"),
        ("putchar(socket(AF_INET, SOCK_STREAM, 0) + 49);", Outcome.EXITED, b"0"),
        ("putchar(open(\"/etc/passwd\", O_RDONLY) + 49);", Outcome.EXITED, b"0"),
        ("putchar(open(\"/proc/self/status\", O_RDONLY) + 49);", Outcome.EXITED, b"0"),
        ("putchar(chmod(\"/tmp\", 0777) + 49);", Outcome.EXITED, b"0"),
        ("putchar(execl(\"/bin/sh\", \"sh\", \"-c\", \"echo no\", NULL) + 49);", Outcome.EXITED, b"0"),
        ("int f = open(\"x\", O_RDWR | O_CREAT, 0700); char e[] = \"#!/bin/sh\\n\"; write(f, e, 10); close(f); putchar(execl(\"./x\", \"x\", NULL) + 49);", Outcome.EXITED, b"0"),
        ("putchar(kill(getppid(), 9) + 49);", Outcome.EXITED, b"0"),
    ],
    ids=["sum", "thread", "vector", "exit code", "segfault", "no C++", "spin", "flood", "memory", "ptrace", "fork", "socket",
         "passwd", "proc", "chmod", "shell", "own script", "kill"],
)  # fmt: skip
def test_cpp(cpp: LanguageSandbox, program: str, outcome: Outcome, stdout: bytes | None) -> None:
    source = program if "main" in program else f"{INCLUDES}int main() {{ {program} }}"
    result = cpp.run(source, b"5 7", LIMITS)
    assert (result.outcome, stdout is None or result.stdout) == (outcome, stdout is None or stdout), result


@pytest.mark.parametrize(
    "source",
    ['#include "/etc/passwd"\nint main() {}', "int main() {",
     'asm(".incbin \\"/etc/passwd\\"");\nint main() {}', "template<int n> struct A : A<n + 1> {}; A<0> a; int main() {}"],
    ids=["passwd", "open", "incbin", "template bomb"],
)  # fmt: skip
def test_what_does_not_compile_is_the_programs_fault(cpp: LanguageSandbox, source: str) -> None:
    result = cpp.run(source, b"", LIMITS)
    assert result.outcome is Outcome.RUNTIME_ERROR
    assert "does not compile" in result.reason
    assert "root:" not in result.reason
    assert os.environ.get("HOME", "/root") not in result.reason


@pytest.mark.parametrize(
    ("program", "outcome", "stdout"),
    [
        (SUM_JS, Outcome.EXITED, b"12\n"),
        ("process.stdin.on('data', d => console.log(String(d).length))", Outcome.EXITED, b"3\n"),
        ("(async () => { await new Promise(r => setTimeout(r, 20)); console.log('late') })()", Outcome.EXITED, b"late\n"),
        ("console.log('x'); process.exit(0)", Outcome.EXITED, b"x\n"),
        ("process.exit(3)", Outcome.RUNTIME_ERROR, b""),
        ("let x = ;", Outcome.RUNTIME_ERROR, b""),
        ("throw new RangeError('far')", Outcome.RUNTIME_ERROR, b""),
        ("for (;;);", Outcome.TIME_LIMIT, b""),
        ("require('child_process').execSync('echo no > /dev/stdout')", Outcome.RUNTIME_ERROR, b""),
        ("require('fs').readFileSync('/etc/passwd')", Outcome.RUNTIME_ERROR, b""),
        ("require('net').connect(9, '127.0.0.1').on('error', e => { console.log(e.code); process.exit() })", Outcome.EXITED, b"EPERM\n"),
        ("process.kill(process.ppid, 'SIGKILL')", Outcome.RUNTIME_ERROR, b""),
    ],
    ids=["sum", "stream", "async", "exit", "exit code", "syntax", "throw", "spin", "shell", "passwd", "socket", "kill"],
)  # fmt: skip
def test_javascript(node: LanguageSandbox, program: str, outcome: Outcome, stdout: bytes) -> None:
    result = node.run(program, b"5 7", LIMITS)
    assert (result.outcome, result.stdout) == (outcome, stdout), result
    if program.startswith("throw"):
        assert result.reason == "RangeError: far"


def test_memory_of_javascript_is_bounded(node: LanguageSandbox) -> None:
    program = "const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1));"
    result = node.run(program, b"", LIMITS)
    assert result.outcome in (Outcome.RUNTIME_ERROR, Outcome.MEMORY_LIMIT, Outcome.TIME_LIMIT)
    assert result.peak_memory_mb < 256 + 400


def grade(language: str, program: str, tests: list[dict[str, Any]], tag: str | None = None) -> Score:
    text = f"```{language if tag is None else tag}\n{program}\n```"
    return resolve("code_tests", {"language": language})(make_sample(text, {"tests": tests}))


STDIO = [{"type": "stdio", "input": "1 2", "output": "3"}, {"type": "stdio", "input": "5 7", "output": "12"}]
CALLS = [{"type": "call", "entry_point": "add", "args": [1, 2], "expected": 3}]


@needs_node
def test_scores_of_javascript() -> None:
    assert grade("javascript", SUM_JS, STDIO).value == 1
    assert grade("javascript", SUM_JS, STDIO, tag="js").value == 1
    assert grade("javascript", SUM_JS.replace("+", "*"), STDIO).value == 0
    assert grade("javascript", SUM_JS, STDIO, tag="python").verdict is Verdict.NO_ANSWER
    other = grade("javascript", SUM_JS, CALLS)
    assert (other.value, other.verdict) == (None, Verdict.NOT_APPLICABLE)
    assert other.detail["reason"] == "only stdio tests can be run in javascript; the row has others"
    check_reward("code_tests", [{"tests": STDIO, "solution": SUM_JS}], options={"language": "javascript"}, timeout_s=60)


def test_scores_of_cpp() -> None:
    if problem := has_cpp():
        pytest.skip(problem)
    assert grade("cpp", SUM_CPP, STDIO).value == 1
    assert grade("cpp", SUM_CPP.replace("a + b", "a * b"), STDIO, tag="c++").value == 0
    assert grade("cpp", "int main() {", STDIO).detail["outcome"] == "runtime_error"


@pytest.mark.parametrize(("language", "tool"), [("cpp", r"g\+\+"), ("javascript", "node")])
def test_a_missing_tool_is_named_and_is_no_zero(monkeypatch: pytest.MonkeyPatch, language: Any, tool: str) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match=f"language '{language}' needs {tool} on PATH"):
        LanguageSandbox(language)
    reward = CodeTests(language=language, scratch_mb=7)  # a sandbox of its own, not one that another test has made
    with pytest.raises(SandboxError, match="on PATH"):
        reward.warm_up()
    score = reward(make_sample(f"```{language}\nx\n```", {"tests": json.dumps(STDIO)}))
    assert (score.value, score.verdict) == (None, Verdict.SANDBOX_FAILURE)


def test_cpp_needs_the_strongest_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not on PATH")
    monkeypatch.setenv(tiers.WITHOUT, "bwrap")
    with pytest.raises(SandboxError, match="'cpp' needs tier T1"):
        LanguageSandbox("cpp", parallel=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "cpp", "packages": ["numpy"]}, "packages are for Python"),
        ({"server": "http://x", "tier": "T1"}, "give only one"),
        ({"language": "cobol"}, "language"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardPluginError, match=message):
        resolve("code_tests", options)
