"""Arrays that are made once and kept, where making one takes a GPU a dozen launches."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from stn_np.backend import Array, place_of, to_device_of
from stn_np.gpu.graph import keep_for_graph

#: What `beside` keeps.
_KEPT: dict[Hashable, Array] = {}


def remember(cache: dict[Hashable, Any], key: Hashable, make: Callable[[], Any]) -> Any:
    """Return cache[key]; make it first if it is not there.

    One program uses few sizes and dtypes. Where they are many, the cache starts afresh.
    """
    value = cache.get(key)
    if value is None:
        if len(cache) >= 8:
            cache.clear()
        value = cache[key] = make()
    keep_for_graph(value)
    return value


def beside(x: Array, key: Hashable, make: Callable[[], Array]) -> Array:
    """The array that `make` makes in NumPy, on the GPU where x is; not to be changed."""
    kept: Array = remember(_KEPT, (place_of(x), key), lambda: to_device_of(make(), x))
    return kept
