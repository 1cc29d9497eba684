"""embedkit: why is this test accuracy higher than single pictures justify?

```python
import embedkit as ek

store = ek.embed("faces/", backbone="mtcnn")
head = ek.train(store)
print(head.predict("x.jpg"))
```
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from embedkit.audits import audit
    from embedkit.audits.explain import explain
    from embedkit.exports import export
    from embedkit.heads import evaluate, load_head, train
    from embedkit.heads.comparison import compare
    from embedkit.maps import map_of
    from embedkit.neighbours import search, search_text
    from embedkit.pipeline import embed
    from embedkit.readers import read_source
    from embedkit.store import Store
    from embedkit.store.forgetting import forget
    from embedkit.store.merging import merge
    from embedkit.store.subsets import subset

__all__ = [
    "Store",
    "audit",
    "compare",
    "embed",
    "evaluate",
    "explain",
    "export",
    "forget",
    "load_head",
    "map_of",
    "merge",
    "read_source",
    "search",
    "search_text",
    "subset",
    "train",
]

# Imported when first used: `import embedkit` loads no torch, FAISS or scikit-learn.
_HOMES = {
    "Store": "embedkit.store",
    "audit": "embedkit.audits",
    "compare": "embedkit.heads.comparison",
    "embed": "embedkit.pipeline",
    "evaluate": "embedkit.heads",
    "explain": "embedkit.audits.explain",
    "export": "embedkit.exports",
    "forget": "embedkit.store.forgetting",
    "load_head": "embedkit.heads",
    "map_of": "embedkit.maps",
    "merge": "embedkit.store.merging",
    "read_source": "embedkit.readers",
    "search": "embedkit.neighbours",
    "search_text": "embedkit.neighbours",
    "subset": "embedkit.store.subsets",
    "train": "embedkit.heads",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'embedkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
