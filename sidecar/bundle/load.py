"""From a directory to a router that scores, or a BundleError that says why not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidecar.bundle import arrays, files, memory
from sidecar.bundle import golden as golden_vectors
from sidecar.bundle.golden import GoldenVector
from sidecar.bundle.manifest import GOLDEN_OF, MANIFEST, MODEL, REFERENCE, TOKENIZER, Manifest
from sidecar.bundle.signature import ANYONE, Trust
from sidecar.bundle.verify import Verified, examine
from sidecar.errors import BundleError
from sidecar.routing.novelty import Novelty
from sidecar.scoring.pace import LIMITS, Limits
from sidecar.scoring.placement import Placement
from sidecar.scoring.providers import Wanted
from sidecar.scoring.scorer import Scorer
from sidecar.scoring.session import Session
from sidecar.scoring.tokenizer import Tokenizer
from sidecar.types import Score


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded router.

    Attributes:
        directory: where it lies, links resolved.
        manifest: its manifest.
        dimensions: D of its embeddings.
        manifest_sha256: of manifest.json; identifies the bundle.
        tokenizer: what the scorer tokenises with.
        scorer: scores windows; safe to call from several threads.
        placement: where the model runs.
        vouched: ids of the trusted keys that signed it; empty where nobody is trusted.
        vectors: the golden vectors that it was tried on; empty if it was not.
    """

    directory: Path
    manifest: Manifest
    dimensions: int
    manifest_sha256: str
    tokenizer: Tokenizer
    scorer: Score
    placement: Placement
    vouched: tuple[str, ...]
    vectors: tuple[GoldenVector, ...]

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs the model on just now, such as CPUExecutionProvider."""
        return self.placement.execution_provider


def load(
    directory: Path,
    *,
    model: str = MODEL,
    provider: Wanted = "cpu",
    limits: Limits = LIMITS,
    golden: bool = True,
    trust: Trust = ANYONE,
    like: Bundle | None = None,
    on_stage: Callable[[str], None] = lambda _stage: None,
) -> Bundle:
    """Verifies, loads and tries out a bundle.

    Args:
        directory: of the bundle.
        model: which of its models the CPU runs, by the name of the file.
        provider: where an encoder should run.
        limits: what the runs of an encoder may take.
        golden: score the golden vectors; False only where they are about to be recorded.
        trust: by one of whose keys it must be signed.
        like: a loaded bundle; if it has the same tokenizer, that is used again. Making one holds up all other threads
            for about 15 ms, and bundles that were trained anew seldom have another.
        on_stage: told what is about to be done, so that whoever watches knows what a bundle died of.

    Raises:
        BundleError: the bundle is refused; the message names the file and the reason.
        ConfigError: the provider is demanded, and cannot be had.
    """
    on_stage(MANIFEST)
    verified = examine(directory, trust=trust)
    bundle = _load(verified, model, provider, limits, golden=golden, like=like, on_stage=on_stage)
    memory.give_back()
    return bundle


def _load(
    verified: Verified,
    model: str,
    provider: Wanted,
    limits: Limits,
    *,
    golden: bool,
    like: Bundle | None,
    on_stage: Callable[[str], None],
) -> Bundle:
    manifest = verified.manifest
    if model not in verified.shapes:
        raise BundleError(f"{model}: is not part of this bundle, which has {', '.join(verified.shapes)}")
    candidates = len(manifest.candidates)
    vectors = golden_vectors.read(verified.goldens[model], candidates, GOLDEN_OF[model]) if golden else ()
    cut = manifest.tokenizer
    on_stage(TOKENIZER)
    if like and cut == like.manifest.tokenizer and manifest.files[TOKENIZER] == like.manifest.files[TOKENIZER]:
        tokenizer = like.tokenizer
    else:
        tokenizer = Tokenizer(verified.tokenizer, max_tokens=cut.max_tokens, pad_id=cut.pad_id)
    on_stage(REFERENCE)
    prior = np.array([candidate.prior_quality for candidate in manifest.candidates], np.float32)
    with np.errstate(all="ignore"):  # hostile numbers end in refusals, not in warnings
        novelty = Novelty(manifest.novelty, arrays.read(verified.reference), prior)
    on_stage(model)
    threads = limits.threads if manifest.family == "encoder" else 1
    with files.pinned(verified.directory / model, verified.model_stamps[model]) as path:
        session = Session(path, candidates=candidates, threads=threads, name=model)
    width = session.probe(sorted({0, cut.pad_id, tokenizer.last_id}))
    if width != novelty.dimensions:
        raise BundleError(
            f"{REFERENCE}: measures embeddings of {novelty.dimensions} dimensions, but {model} gives {width}; "
            "export the bundle again"
        )
    plain = Scorer(tokenizer, session, novelty)
    if golden:
        on_stage(GOLDEN_OF[model])
        golden_vectors.check(vectors, plain, manifest.golden_tolerance, GOLDEN_OF[model])
    scorer: Score = plain
    placement = Placement(session.execution_provider)
    if manifest.family == "encoder":
        from sidecar.bundle.encoder import Encoder  # noqa: PLC0415 - a static model starts sooner without it

        on_stage(provider)
        encoder = Encoder(verified, session, width, tokenizer, novelty, limits, golden=golden)
        scorer, placement = encoder.scorer(provider)
    return Bundle(
        directory=verified.directory,
        manifest=manifest,
        dimensions=width,
        manifest_sha256=verified.manifest_sha256,
        tokenizer=tokenizer,
        scorer=scorer,
        placement=placement,
        vouched=verified.vouched,
        vectors=vectors,
    )
