"""Values as a server gives them: rows of a Prometheus exposition, cut down to what matters."""

import re
from collections.abc import Mapping, Sequence

Labels = Mapping[str, str]
Samples = Mapping[str, Sequence[tuple[Labels, float]]]

MODEL_NAME = "model_name"
# Rows that differ in these labels only are the same requests, seen by each of the processes that work on them together.
RANKS = frozenset({"tp_rank", "pp_rank", "moe_ep_rank", "pid"})
MOST_NAMES_TOLD = 5


class SourceError(Exception):
    """A source gave nothing usable this time; the message says why, in one line."""


class Exposition:
    """Reads expositions of the text format 0.0.4.

    Only the lines of wanted metrics reach the parser: a model server tells some thousand histogram buckets beside them.

    Args:
        wanted: names of metrics.
        model_name: the label `model_name` of the rows to take; empty takes all, if there is one only.
    """

    def __init__(self, wanted: frozenset[str], model_name: str = "") -> None:
        names = "|".join(re.escape(name) for name in sorted(wanted))
        self._lines = re.compile(rf"^(?:{names})[ \t]*[{{ \t].*$", re.MULTILINE)
        self._model_name = model_name

    def read(self, text: str) -> Samples:
        """The rows of the wanted metrics, by metric.

        Raises:
            SourceError: there are none, they cannot be parsed, or it is not clear which of them to take.
        """
        from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - workers read no expositions

        lines = self._lines.findall(text)
        if not lines:
            raise SourceError(
                "has none of the expected metrics; is `engine` right, are metrics switched on, and has it answered anything yet?"
            )
        rows: dict[str, list[tuple[Labels, float]]] = {}
        try:
            for family in text_string_to_metric_families("\n".join(lines) + "\n"):
                for sample in family.samples:
                    rows.setdefault(sample.name, []).append((sample.labels, sample.value))
        except Exception:  # noqa: BLE001 - the parser has no error of its own; it trips over garbage as it may
            raise SourceError("has metrics that cannot be parsed") from None
        return self._chosen(rows)

    def _chosen(self, rows: dict[str, list[tuple[Labels, float]]]) -> Samples:
        models = {labels[MODEL_NAME] for many in rows.values() for labels, _ in many if MODEL_NAME in labels}
        if self._model_name:
            if models and self._model_name not in models:
                raise SourceError(f"has no rows of model_name {self._model_name!r}; there are {_told(models)}")
            chosen = {self._model_name, None}
        elif len(models) > 1:
            raise SourceError(f"serves several models: set telemetry.model_name to one of {_told(models)}")
        else:
            chosen = {*models, None}
        return {
            name: [(labels, value) for labels, value in many if labels.get(MODEL_NAME) in chosen]
            for name, many in rows.items()
        }


def _told(models: set[str]) -> str:
    told = ", ".join(map(repr, sorted(models)[:MOST_NAMES_TOLD]))
    return f"{told} ..." if len(models) > MOST_NAMES_TOLD else told


def matching(rows: Sequence[tuple[Labels, float]], labels: tuple[tuple[str, str], ...]) -> list[float]:
    """The values of the rows that have the labels; of rows that differ in RANKS only, the largest.

    An empty label is one that is missing, as everywhere in Prometheus.
    """
    found: dict[frozenset[tuple[str, str]], float] = {}
    for has, value in rows:
        if all(has.get(name, "") == wanted for name, wanted in labels):
            group = frozenset(item for item in has.items() if item[0] not in RANKS)
            found[group] = max(value, found.get(group, value))
    return list(found.values())
