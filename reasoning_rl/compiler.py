"""Whether there is a C++ compiler that torch.compile and DeepSpeed can use. Imports nothing but the standard library."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sysconfig

#: What the kernels that torch generates for CPUs include, so that missing headers count as a missing compiler.
_PROGRAM = "#include <Python.h>\n#include <omp.h>\n#include <vector>\n"


@functools.cache
def problem(usual: str = "g++") -> str | None:
    """What is wrong with the compiler, or nothing: it is called once, on a file of three lines.

    Args:
        usual: the one that is called unless `CXX` names another; `torch.compile` calls g++, extensions are built by c++.
    """
    name = os.environ.get("CXX", usual)
    if shutil.which(name) is None:
        return f"there is no C++ compiler ({name})"
    words = [name, "-x", "c++", "-std=c++17", "-fopenmp", "-fsyntax-only", f"-I{sysconfig.get_path('include')}", "-"]
    try:
        done = subprocess.run(words, input=_PROGRAM, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the C++ compiler {name} cannot be called ({error})"
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    return f"the C++ compiler {name} does not work ({(errors or ['no message'])[0]})" if done.returncode else None
