"""The Ray cluster that work is sent to: one that runs already, from the optional package ray (csasn[cluster])."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from csasn.errors import BadInputError


@contextmanager
def connected_ray() -> Iterator[Any]:
    """The module ray, connected to the cluster that RAY_ADDRESS or this machine names; disconnected at the end.

    Raises BadInputError where Ray is not installed, or where no cluster answers.
    """
    ray = _imported()
    try:
        ray.init(address="auto", log_to_driver=False, configure_logging=False)
    except ConnectionError as error:
        raise BadInputError(
            f"--engine ray takes a Ray cluster that runs already; there is none ({str(error).splitlines()[0]}). "
            "Start one with `ray start --head`, set RAY_ADDRESS, or take --engine local."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _imported() -> Any:
    # By itself Ray tries an address where nobody answers 20 times; once takes 41 s. It reads this on import.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    try:
        return import_module("ray")
    except ImportError as error:
        raise BadInputError(
            f"--engine ray needs the package ray ({error}): install csasn[cluster], or take --engine local."
        ) from error
