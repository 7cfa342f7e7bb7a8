"""What every family of routers has in common, as far as bundles and evaluations need it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from export.outcomes import Outcomes
from export.prices import Price
from export.unseen import Unseen
from sidecar.scoring.recipe import TextRecipe
from sidecar.types import Floats

Family = Literal["static", "encoder"]
Progress = Callable[[], object]


class Router(Protocol):
    """A trained router."""

    @property
    def family(self) -> Family:
        """Of the router."""

    @property
    def about(self) -> str:
        """Of its making, in words for the model card; may be empty."""

    @property
    def pad_id(self) -> int:
        """Fills short rows of a batch."""

    @property
    def parity(self) -> float:
        """How far scores of the exported model may lie from those of training."""

    @property
    def golden_tolerance(self) -> float:
        """How far serving may lie from the golden vectors."""

    @property
    def reference(self) -> Mapping[str, Floats]:
        """Arrays for novelty."""

    @property
    def prior(self) -> Floats:
        """[C] mean quality."""

    @property
    def mean_tokens(self) -> Floats:
        """[C] mean answer length; 0 where the data has none."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Cross-validated figures by name."""

    @property
    def windows(self) -> tuple[str, ...]:
        """[N] the texts it was trained on, normalised."""

    @property
    def unseen(self) -> Unseen:
        """What cross-validation expected of the training prompts."""

    def files(self) -> Mapping[str, bytes]:
        """Its models and tokenizer.json by their names in a bundle."""

    def scores(self, windows: Sequence[str], max_tokens: int) -> tuple[Floats, Floats, Floats]:
        """Quality before shrinkage, embedding and output tokens, as training computes them."""


class Training(Protocol):
    """A way to train a router: a family with its settings."""

    @property
    def recipe(self) -> TextRecipe:
        """Which text of a request is scored."""

    @property
    def max_tokens(self) -> int:
        """That are read of a window."""

    @property
    def shrinkage(self) -> dict[str, float]:
        """Parameters of sidecar.routing.novelty."""

    def rounds(self, rows: int) -> int:
        """How often `progress` is called while training on so many rows."""

    def train(self, outcomes: Outcomes, prices: Sequence[Price], progress: Progress = ...) -> Router:
        """Trains, calibrates and measures a router."""
