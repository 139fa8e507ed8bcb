# tensordict's own annotations refuse what it documents (`td["key"]`, fields of a TensorClass); fields keep their types.
from typing import Any

def __getattr__(name: str) -> Any: ...
