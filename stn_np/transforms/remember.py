"""Arrays that depend on constants only, kept from one call to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from stn_np.gpu.graph import keep_for_graph


def remember(cache: dict[Hashable, Any], key: Hashable, make: Callable[[], Any]) -> Any:
    """Return cache[key]; make it first if it is not there.

    The sizes and dtypes that one program uses are few. Where they are not, the cache starts afresh
    rather than grow without bound.
    """
    value = cache.get(key)
    if value is None:
        if len(cache) >= 8:
            cache.clear()
        value = cache[key] = make()
    keep_for_graph(value)
    return value
