"""Which models' outcomes were heard of a decision, where the gateway fell back from the decided one to another.

That is rare, so only such decisions are remembered, and of them only the latest.
"""

MOST_DECISIONS = 4096


class Attempts:
    """Rows of models by decision.

    Args:
        most: decisions that are remembered.
    """

    def __init__(self, most: int = MOST_DECISIONS) -> None:
        self._most = most
        self._rows: dict[int, list[int]] = {}

    def known(self, number: int) -> bool:
        """Whether another model than the decided one is known to have been tried."""
        return number in self._rows

    def first(self, number: int, row: int) -> bool:
        """Whether this is the first outcome of a model; from then on it is not.

        Args:
            number: of a decision that is known, see `begin`.
            row: the model's.
        """
        rows = self._rows[number]
        if row in rows:
            return False
        rows.append(row)
        return True

    def begin(self, number: int, heard: list[int]) -> None:
        """Another model than the decided one was tried.

        Args:
            number: of the decision.
            heard: rows of the models of which an outcome was heard before.
        """
        if len(self._rows) == self._most:
            del self._rows[next(iter(self._rows))]
        self._rows[number] = heard
