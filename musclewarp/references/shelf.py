"""`Shelf`: rows of many clips in tensors of a fixed size, which hold some of the clips at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch


class Shelf:
    """Tensors in which the rows of each clip that is held lie side by side; their addresses never change.

    Args:
        lengths: rows of each of the C clips.
        capacity: F, rows of all that are held, at most.
        like: an example of each tensor, `(any, ...)`.

    Attributes:
        parts: the tensors `(F, ...)`.
        first: row at which each clip begins `(C,)`; F if it is not held, so that to ask for it is an error.
        held: whether each clip is held, `(C,)` on the CPU.
        capacity: F.
    """

    def __init__(self, lengths: Sequence[int], capacity: int, like: Sequence[torch.Tensor]) -> None:
        self.capacity, self._lengths = capacity, lengths
        self.parts = [part.new_empty(capacity, *part.shape[1:]) for part in like]
        self.first = torch.full((len(lengths),), capacity, device=like[0].device)
        self.held = torch.zeros(len(lengths), dtype=torch.bool)

    def hold(self, clips: Iterable[int], rows: Callable[[int], Sequence[torch.Tensor]]) -> None:
        """Hold `clips`, which must fit, and no others; `rows(clip)` makes what is not there yet."""
        wanted, before = set(clips), self.first.tolist()
        kept = sorted((clip for clip in wanted if self.held[clip]), key=before.__getitem__)
        after, end = len(before) * [self.capacity], 0
        self.first.fill_(self.capacity)  # should a clip not be read, none is taken for another
        self.held.fill_(False)
        for clip in (*kept, *sorted(wanted.difference(kept))):
            length, start = self._lengths[clip], before[clip]
            if start == self.capacity:
                self._write(end, length, rows(clip))
            elif start != end:  # close the gaps that others left
                self._write(end, length, [part[start : start + length].clone() for part in self.parts])
            after[clip] = end
            end += length
        self.first.copy_(torch.tensor(after))
        self.held = self.first.cpu() < self.capacity

    def _write(self, start: int, length: int, rows: Sequence[torch.Tensor]) -> None:
        for part, values in zip(self.parts, rows, strict=True):
            part[start : start + length] = values
