"""Every benchmark, one after the other, as one JSON document on stdout; what happens meanwhile on stderr.

`python -m benchmarks [NAME...]`: all of them, or those named. Each is a module with `run() -> dict`.
"""

import importlib
import json
import platform
import sys
import time
import traceback
from importlib.metadata import version
from types import ModuleType

NAMES = (
    "data",
    "plan",
    "generation",
    "training",
    "finetune",
    "rollouts",
    "gan",
    "pictures",
    "vae",
    "clip",
    "text_to_image",
    "vlm",
)


def main(names: list[str]) -> int:
    """Run the benchmarks and print what they measured.

    Args:
        names: Some of `NAMES`.

    Returns:
        1 where one could not run; the others' figures are printed all the same, after an interruption too.
    """
    if unknown := [name for name in names if name not in NAMES]:
        print(f"benchmarks: no such benchmark: {unknown[0]}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    done: dict[str, object] = {"machine": machine()}
    try:
        for name in names:
            print(f"benchmarks: {name}", file=sys.stderr, flush=True)
            start = time.perf_counter()
            done[name] = figures(name)
            print(f"benchmarks: {name} took {time.perf_counter() - start:.0f} s", file=sys.stderr)
    finally:  # hours of figures outlive an interruption
        print(json.dumps(done, indent=2))
    return int(any(isinstance(each, dict) and each.keys() & {"missing", "failed"} for each in done.values()))


def figures(name: str) -> dict[str, object]:
    """What a benchmark measured, or why it did not."""
    try:
        return load(name).run()
    except ModuleNotFoundError as fault:
        if fault.name is not None and fault.name.partition(".")[0] not in ("makar", "benchmarks"):
            line = f"{name} needs {fault.name}, a peer that is not installed; pip install -e '.[peers]'"
            print(f"benchmarks: {line}", file=sys.stderr)
            return {"missing": fault.name}
        return failure(name, fault)
    except Exception as fault:  # noqa: BLE001, one that fails costs no other its figures
        return failure(name, fault)


def failure(name: str, fault: Exception) -> dict[str, object]:
    """Say what went wrong, with its traceback, and keep it in one line."""
    print(f"benchmarks: {name} failed", file=sys.stderr)
    traceback.print_exception(fault, file=sys.stderr)
    return {"failed": f"{type(fault).__name__}: {fault}"}


def load(name: str) -> ModuleType:
    """One benchmark; its module imports its peers."""
    return importlib.import_module(f"benchmarks.{name}")


def machine() -> dict[str, object]:
    """What the figures hold for."""
    import torch

    from makar.core.device import processor

    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(NAMES)))
