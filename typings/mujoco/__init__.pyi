# MuJoCo's bindings are an extension module without stubs: tell pyright that it cannot know what is in there.
from typing import Any

def __getattr__(name: str) -> Any: ...
