"""What the model should do."""

from __future__ import annotations

from musclewarp.references.reference import Reference, make_reference

__all__ = ["Reference", "make_reference"]
