"""Table with a row for each stored frame, as methods keep that learn by instance."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from representations.base import Representation


class StoredRows(Representation):
    """Representation with a buffer ``table``, whose rows are those that ``Steps.row`` counts."""

    table: Tensor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A module that only plays was never shown the stored frames: a checkpoint says how many there were.
        saved = state_dict.get(prefix + "table")
        if saved is not None and saved.shape != self.table.shape:
            self.table = self.table.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
