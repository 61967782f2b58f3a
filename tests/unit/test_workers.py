"""Grading processes against everything that a completion, a reward, the machine or the user can do to them."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Completion, Sample, Score, Verdict
from reasoning_rl.errors import ScoringError
from reasoning_rl.grading import Grader, default_num_workers
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.workers.cache import ScoreCache, digest
from reasoning_rl.workers.proc import descendants, rss_mb
from reasoning_rl.workers.task import Graded

HOSTILE = Path(__file__).parents[1] / "fixtures" / "hostile_rewards.py"
TIMEOUT_S = 1.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading processes are watched through /proc")


def sample(text: str, **row: Any) -> Sample:
    return Sample([], Completion(text, None, text, len(text), False), row)


def reward(name: str, timeout_s: float | None = TIMEOUT_S, **options: Any) -> WeightedReward:
    use = f"{HOSTILE}:{name}"
    return WeightedReward(name, resolve(use, options), 1.0, use=use, options=options, timeout_s=timeout_s)


def grader(*rewards: WeightedReward, workers: int = 1, memory_mb: int = 512, max_pending: int = 4096) -> Grader:
    settings = Scoring(num_workers=workers, memory_mb=memory_mb)
    return Grader(RewardSet(tuple(rewards)), settings, max_pending=max_pending)


others: set[int] = set()  # what the test process had below it before these tests: sandboxes of other tests


def graders() -> list[int]:
    """The processes below this one that these tests started."""
    return [pid for pid in descendants(os.getpid()) if pid not in others]


@pytest.fixture(scope="module", autouse=True)
def nothing_left_at_the_end() -> Iterator[None]:
    others.update(descendants(os.getpid()))
    yield
    assert not graders()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test, only the two processes of the shared pool, which may just be replacing them."""
    yield
    end = time.monotonic() + 5
    while len(graders()) > 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert len(graders()) <= 2


@pytest.fixture(scope="module")
def pool() -> Iterator[Grader]:
    with grader(reward("act")) as pool:
        yield pool


def score_of(pool: Grader, text: str, **row: Any) -> Score:
    """The score of the first reward."""
    return next(iter(pool.submit(sample(text, **row)).result(timeout=60).scores.values()))


def unless_starved(make: Callable[[], Score]) -> Score:
    """A score whose verdict depends on getting half of a core: tried again when the machine gave less."""
    for _ in range(5):
        score = make()
        if "overloaded" not in score.detail.get("reason", ""):
            return score
    pytest.skip("the machine is too busy to give a process half of a core")


@pytest.mark.parametrize(
    ("act", "value", "verdict", "reason"),
    [
        ("spin", 0.0, Verdict.TIMEOUT, "no score within 1 s"),
        ("spin_in_c", 0.0, Verdict.TIMEOUT, "no score within 1 s"),
        ("sleep", None, Verdict.GRADER_ERROR, "no score within 1 s; the grader was blocked"),
        ("stop", None, Verdict.GRADER_ERROR, "no score within 1 s; the grader was blocked"),
        ("fork_and_sleep", None, Verdict.GRADER_ERROR, "no score within 1 s; the grader was blocked"),
        ("allocate", 0.0, Verdict.MEMORY_LIMIT, "more than scoring.memory_mb = 512"),
        ("exit", 0.0, Verdict.CRASH, "the grading process died with exit code 0"),
        ("exit 3", 0.0, Verdict.CRASH, "the grading process died with exit code 3"),
        ("segfault", 0.0, Verdict.CRASH, "the grading process died with signal 11"),
        ("kill", 0.0, Verdict.CRASH, "the grading process died with signal 9"),
        ("kill_warden", 0.0, Verdict.CRASH, "the grading process died with signal 9"),
        ("stop_warden", None, Verdict.GRADER_ERROR, "no score within 1 s; the grader was blocked"),
        ("garbage", 0.0, Verdict.CRASH, "announced a reply of 4294967295 bytes"),
        ("raise", None, Verdict.GRADER_ERROR, "ZeroDivisionError: "),
        ("sys_exit bye", None, Verdict.GRADER_ERROR, "SystemExit: bye"),
        ("print", 1.0, Verdict.CORRECT, ""),
    ],
)
def test_whose_fault(pool: Grader, act: str, value: float | None, verdict: Verdict, reason: str) -> None:
    start = time.monotonic()
    score = unless_starved(lambda: score_of(pool, act, attempt=time.monotonic()))
    assert (score.value, score.verdict) == (value, verdict), score
    assert score.detail.get("reason", "").startswith(reason)
    if score.verdict in (Verdict.TIMEOUT, Verdict.GRADER_ERROR) and "spin" not in act:
        assert time.monotonic() - start < TIMEOUT_S + 1.0  # the promise of the issue
    assert score_of(pool, "nothing", after=act) == Score(1.0, Verdict.CORRECT)


def test_grandchildren_die_with_their_grader(pool: Grader) -> None:
    """Also a daemon in a session of its own, left behind by a grader that has gone on to other samples."""
    assert score_of(pool, "daemon", again=1).value == 1.0
    assert any("reasoning-rl-test-daemon" in command(pid) for pid in graders())
    score_of(pool, "exit 1", again=1)
    assert not any("reasoning-rl-test-daemon" in command(pid) for pid in graders())


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("do", "reason"),
    [("exit 1", "an empty completion of the row is not graded either"), ("sleep", "the grader was blocked")],
)
def test_a_row_that_breaks_the_grader_is_our_fault(do: str, reason: str) -> None:
    with grader(reward("act", on="row")) as pool:
        score = score_of(pool, "anything", do=do)
        assert score.verdict is Verdict.GRADER_ERROR
        assert reason in score.detail["reason"]


@pytest.mark.parametrize("act", ["crash_once", "allocate_once"])
def test_a_stray_crash_changes_no_score(pool: Grader, tmp_path: Path, act: str) -> None:
    score_of(pool, "nothing", first=act)  # a fresh process that runs out of memory would be believed
    assert score_of(pool, f"{act} {tmp_path}/done").value == 1.0
    assert (tmp_path / "done").exists()


def test_finished_scores_survive_a_kill() -> None:
    with grader(reward("echo"), reward("act"), reward("row_types")) as pool:
        scored = pool.submit(sample("sleep")).result(timeout=30)
        assert [score.verdict for score in scored.scores.values()] == ["correct", "grader_error", "correct"]
        assert scored.total is None
        assert pool.stats()["kills"] == 1
        assert pool.stats()["scores"] == 3
        assert scored.seconds["act"] >= TIMEOUT_S > scored.seconds["echo"]


def test_deadlines_are_per_reward() -> None:
    with grader(reward("act", timeout_s=3.0), reward("keyed", timeout_s=None)) as pool:
        assert pool._dispatcher is not None
        assert [spec.timeout_s for spec in pool._dispatcher.rewards] == [3.0, 7.0]
        assert score_of(pool, "sleep 1.5", count=os.devnull).value == 1.0


def test_the_process_is_a_fresh_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with grader(reward("echo")) as pool:
        detail = score_of(pool, "x").detail
    assert detail["main"] is None
    assert detail["pid"] != os.getpid()
    assert detail["environment"] == {
        "SYMPY_GROUND_TYPES": "python",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONHASHSEED": "0",
    }


def test_rewards_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found_here.py").write_text("def one(sample):\n    return 1.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for use in ("found_here:one", "found_here.py:one"):
        with Grader(RewardSet((WeightedReward("one", resolve(use), 1.0, use=use),)), Scoring(num_workers=1)) as pool:
            assert score_of(pool, "x").value == 1.0


def test_warm_up_comes_before_the_first_sample() -> None:
    with grader(reward("slow_start")) as pool:
        assert score_of(pool, "x").value == 1.0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise KeyError('lost')", "KeyError: 'lost'"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import sys; sys.exit('no')", "SystemExit: no"),
    ],
)
def test_a_reward_that_cannot_be_imported_there(tmp_path: Path, code: str, reason: str) -> None:
    """It could be imported here: only then does the host get as far as starting processes."""
    path = tmp_path / "mine.py"
    path.write_text("def one(sample):\n    return 1.0\n")
    built = resolve(f"{path}:one")
    path.write_text(code)
    rewards = RewardSet((WeightedReward("one", built, 1.0, use=f"{path}:one"),))
    with pytest.raises(ScoringError, match="a grading process cannot start") as caught:
        Grader(rewards, Scoring(num_workers=2))
    assert reason in str(caught.value)


def test_processes_that_can_no_longer_start_stop_the_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import os\ndef one(sample):\n    os._exit(1)\n")
    use = f"{path}:one"
    with Grader(RewardSet((WeightedReward("one", resolve(use), 1.0, use=use),)), Scoring(num_workers=1)) as pool:
        path.write_text("raise OSError('gone')")
        with pytest.raises(ScoringError, match="OSError: gone"):
            pool.submit(sample("x")).result(timeout=60)
        with pytest.raises(ScoringError):
            pool.submit(sample("y")).result(timeout=60)


def test_results_keep_their_order() -> None:
    with grader(reward("echo"), reward("act"), workers=2) as pool:
        texts = [f"nothing {i}" if i % 2 else f"sleep {0.02 * (i % 5)}" for i in range(20)]
        futures = [pool.submit(sample(text, i=i)) for i, text in enumerate(texts)]
        assert [future.result(timeout=60).scores["echo"].detail["text"] for future in futures] == texts
        seen: list[int] = []
        scored = pool.score_batch([sample(text, j=i) for i, text in enumerate(texts)], on_progress=seen.append)
        assert [item.scores["echo"].detail["text"] for item in scored] == texts
        assert sum(seen) == 20
        assert len({item.scores["echo"].detail["pid"] for item in scored}) == 2


def test_large_inputs_and_outputs_do_not_block() -> None:
    with grader(reward("echo"), reward("huge_detail"), reward("strange_detail"), reward("act")) as pool:
        scored = pool.submit(sample("nothing " + "x" * 5_000_000)).result(timeout=30)
        assert scored.scores["echo"].detail["detail_bytes"] > 5_000_000
        assert set(scored.scores["huge_detail"].detail) == {"detail_cut", "detail_bytes"}
        assert scored.scores["strange_detail"].detail["detail_lost"].startswith("RecursionError")
        assert scored.scores["act"].value == 1.0
        assert pool.submit(sample("")).result(timeout=30).scores["strange_detail"].detail == {"object": str(object)}


def test_a_grader_that_does_not_read() -> None:
    """50 MB do not fit into a socket; the deadline holds all the same."""
    with grader(reward("act")) as pool:
        for pid in graders()[1:]:
            os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        score = score_of(pool, "x" * 50_000_000)
        assert time.monotonic() - start < TIMEOUT_S + 1.0
        assert score.verdict is Verdict.GRADER_ERROR
        assert score_of(pool, "x" * 50_000_000, again=1).value == 1.0


def test_rows_keep_their_types() -> None:
    with grader(reward("row_types")) as pool:
        detail = score_of(pool, "x", a=(1,), b=b"x", c=2**5000, d={1: None}, e="\ud800").detail
    assert detail["types"] == {"a": "tuple", "b": "bytes", "c": "int", "d": "dict", "e": "str"}


def test_a_row_that_cannot_be_sent_is_our_fault(pool: Grader) -> None:
    score = score_of(pool, "x", function=lambda: None)
    assert score.verdict is Verdict.GRADER_ERROR
    assert score.detail["reason"].startswith("the row cannot be sent: ")


def test_submit_blocks_while_too_much_is_unfinished() -> None:
    with grader(reward("act", timeout_s=20.0), max_pending=3) as pool:
        assert pool._dispatcher is not None
        most, submitted = 0, threading.Event()

        def submit_all() -> None:
            futures = [pool.submit(sample("sleep 0.05", i=i)) for i in range(12)]
            submitted.set()
            assert all(future.result(timeout=30).total == 1.0 for future in futures)

        thread = threading.Thread(target=submit_all)
        thread.start()
        while not submitted.is_set():
            most = max(most, pool._dispatcher._state.num_pending)
            time.sleep(0.005)
        thread.join()
        assert most == 3


def test_equal_samples_pay_once(tmp_path: Path) -> None:
    count = str(tmp_path / "count")
    with grader(reward("keyed"), workers=2) as pool:
        scored = pool.score_batch([sample(f"{i % 3} rest {i}", count=count) for i in range(30)])
        assert [item.scores["keyed"].detail["first"] for item in scored] == [str(i % 3) for i in range(30)]
        assert Path(count).read_text() == "xxx"
        pool.score_batch([sample("1 another", count=count)])
        assert Path(count).read_text() == "xxx"
        stats = pool.stats()
        assert (stats["tasks"], stats["hits"] + stats["joined"]) == (3, 28)


def test_a_poisonous_completion_pays_once() -> None:
    with grader(reward("act")) as pool:
        first = unless_starved(lambda: score_of(pool, "spin"))
        kills = pool.stats()["kills"]
        assert [item.scores["act"] for item in pool.score_batch([sample("spin")] * 16)] == [first] * 16
        assert pool.stats()["kills"] == kills


def test_our_own_failures_are_not_remembered() -> None:
    with grader(reward("act")) as pool:
        both = pool.score_batch([sample("sleep")] * 2)
        assert [item.scores["act"].verdict for item in both] == [Verdict.GRADER_ERROR] * 2
        assert pool.stats()["kills"] == 1
        score_of(pool, "sleep")
        assert pool.stats()["kills"] == 2


def test_the_cache_is_bounded() -> None:
    cache: ScoreCache[str] = ScoreCache(max_entries=3, max_mb=1)
    keys = [digest("r", i) for i in range(5)]
    for key in keys:
        assert cache.wait(key, "first")
        assert not cache.wait(key, "second")
        assert cache.put(key, Graded(Score.correct(), 0.1, 100)) == ["first", "second"]
    assert [cache.get(key) is not None for key in keys] == [False, False, True, True, True]
    cache.put(digest("large"), Graded(Score.correct(), 0.1, 1 << 20))
    assert len(cache) == 0
    assert cache.num_bytes == 0
    assert digest(1) != digest(True) != digest("1")


def test_a_leaking_reward_is_recycled() -> None:
    with grader(reward("grow")) as pool:
        assert pool._dispatcher is not None
        assert all(item.total == 1.0 for item in pool.score_batch([sample("x", i=i) for i in range(700)]))
        assert pool.stats()["recycled"] == 2  # at 300 MB each
        assert pool.stats()["crashes"] == 0


def test_thousands_of_grades_grow_nothing() -> None:
    with grader(reward("echo"), workers=2) as pool:
        assert pool._dispatcher is not None
        pool.score_batch([sample("warm", i=i) for i in range(500)])
        open_fds, memory = len(list(Path("/proc/self/fd").iterdir())), rss_mb()
        for start in range(0, 4000, 1000):
            pool.score_batch([sample("same", i=start + i) for i in range(1000)])
        assert len(list(Path("/proc/self/fd").iterdir())) == open_fds
        assert rss_mb() - memory < 20
        assert pool.stats()["recycled"] == 0


def test_random_kills_change_no_score() -> None:
    """Kills of graders and of wardens all through a batch."""
    with grader(reward("echo"), reward("act", timeout_s=20.0), workers=2) as pool:
        stop = threading.Event()

        def kill() -> None:
            chance = random.Random(0)
            while not stop.wait(0.3):
                os.kill(chance.choice(graders()), signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            scored = pool.score_batch([sample(f"sleep 0.00{i % 10}", i=i) for i in range(1000)])
        finally:
            stop.set()
            thread.join()
        assert [item.total for item in scored] == [2.0] * 1000
        assert pool.stats()["crashes"] >= 3


def test_without_workers_everything_runs_here() -> None:
    with Grader(RewardSet((WeightedReward("e", resolve(f"{HOSTILE}:echo"), 1.0),)), Scoring(num_workers=0)) as pool:
        assert score_of(pool, "x").detail["pid"] == os.getpid()
        assert len(pool.score_batch([sample("x"), sample("y")])) == 2


@pytest.mark.parametrize(("ranks", "limit"), [("1", 8), ("4", 8), ("1000", 1)])
def test_default_num_workers(ranks: str, limit: int) -> None:
    assert 1 <= default_num_workers({"LOCAL_WORLD_SIZE": ranks}) <= min(limit, len(os.sched_getaffinity(0)))
