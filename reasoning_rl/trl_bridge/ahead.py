"""One call of the engine in a thread of its own, beside the update; its result, its failure, its end.

Torch and vLLM release the interpreter inside their kernels, so the two run side by side as far as cores or the GPU allow.
Knows nothing of batches and policies (`choosing`) nor of what the engine does (`engine`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Generic, TypeVar

import torch

from reasoning_rl.errors import EngineError, ReasoningRLError

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - not an error
    """The call was asked to stop, and did."""


class Beside(Generic[T]):
    """Starts `call` in a thread. On CUDA it has a stream of its own, which begins after all work that was queued before.

    Args:
        call: gets an event; once that is set it raises `Stopped` as soon as it can.
    """

    def __init__(self, call: Callable[[threading.Event], T]) -> None:
        self._call = call
        self._stop = threading.Event()
        self._future: Future[T] = Future()
        self.seconds = 0.0  # of the call, once it is over
        self._stream: torch.cuda.Stream | None = None
        if torch.cuda.is_available():
            self._stream = torch.cuda.Stream()
            self._stream.wait_stream(torch.cuda.current_stream())
        self._thread = threading.Thread(target=self._run, name="sampling-ahead", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Returns when the call is over, well or not."""
        self._thread.join()

    def result(self) -> T:
        """What the call returned; waits for it.

        Raises:
            ReasoningRLError: what it raised, with a name if it had none.
        """
        self.wait()
        try:
            return self._future.result()
        except ReasoningRLError:
            raise
        except Exception as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EngineError(
                f"vllm: sampling the next batch beside the update failed with {type(error).__name__}: {text}; the last "
                "checkpoint is whole, and sampling.staleness 0 samples and updates in turn"
            ) from error

    def stop(self) -> None:
        """Asks the call to stop and returns when it is over; nobody will ask for its result."""
        self._stop.set()
        self.wait()

    def _run(self) -> None:
        start = time.perf_counter()
        try:
            with torch.cuda.stream(self._stream) if self._stream else nullcontext():
                value = self._call(self._stop)
                if self._stream:
                    self._stream.synchronize()  # nothing reads the weights any more
        except BaseException as error:  # noqa: BLE001 - the thread that asks for the result gets it
            self._future.set_exception(error)
        else:
            self._future.set_result(value)
        finally:
            self.seconds = time.perf_counter() - start
