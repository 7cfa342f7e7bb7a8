"""What an operator wants to know of a bundle, as plain data and as lines of text."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sidecar.bundle.manifest import MODEL
from sidecar.bundle.verify import examine


def summarise(directory: Path) -> dict[str, Any]:
    """Verifies a bundle and describes it, without loading the model.

    Returns:
        Everything in the manifest, and `directory`, `manifest_sha256`, `bytes` (of all files but the manifest),
        `signed_by` (key ids; the signatures are not checked) and `model` (operator set, nodes, operators); fit for
        JSON.

    Raises:
        BundleError: the bundle is refused; the message names the file and the reason.
    """
    verified = examine(directory)
    shape = verified.shapes[MODEL]
    facts: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(verified.manifest))
    return facts | {
        "directory": str(verified.directory),
        "manifest_sha256": verified.manifest_sha256,
        "bytes": sum(entry.size for entry in verified.manifest.files.values()),
        "signed_by": [entry.key_id for entry in verified.signatures],
        "model": {"opset": shape.opset, "nodes": shape.nodes, "operators": sorted(shape.operators)},
    }


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Renders what summarise returned. What the bundle's author wrote cannot steer the terminal."""
    for line in _lines(summary):
        yield "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def _lines(summary: Mapping[str, Any]) -> Iterator[str]:
    data, model, recipe = summary["training_data"], summary["model"], summary["text_recipe"]
    yield f"{summary['name']} {summary['version']} ({summary['family']}), exported {summary['created']}"
    yield f"  directory   {summary['directory']}"
    yield f"  identity    sha256:{summary['manifest_sha256']}"
    signed_by = ", ".join(summary["signed_by"])
    yield f"  signed by   {signed_by + ' (not checked; see `bundle verify --trust`)' if signed_by else 'nobody'}"
    yield f"  size        {summary['bytes']:,} bytes in {len(summary['files'])} files and the manifest"
    yield (
        f"  model       {model['nodes']} nodes, operator set {model['opset']}: "
        f"{', '.join(model['operators']) or 'no operators'}"
    )
    yield f"  text        recipe {recipe['version']}, at most {recipe['max_chars']:,} characters"
    yield f"  tokens      at most {summary['tokenizer']['max_tokens']:,}"
    yield f"  novelty     {summary['novelty']['kind']} {_pairs(summary['novelty']['shrinkage'])}".rstrip()
    yield f"  trained on  {data['rows']:,} prompts in {len(data['segments'])} segments: {data['source']}"
    yield f"  licence     {data['licence']}"
    yield f"  metrics     {_pairs(summary['metrics']) or 'none'}"
    names = max(len("candidate"), *(len(candidate["name"]) for candidate in summary["candidates"]))
    yield ""
    yield f"  {'candidate':<{names}}  {'prior':>6}  {'tokens':>7}  {'USD/M in':>9}  {'USD/M out':>9}"
    for candidate in summary["candidates"]:
        yield (
            f"  {candidate['name']:<{names}}  {candidate['prior_quality']:>6.3f}  "
            f"{candidate['mean_output_tokens']:>7.0f}  {candidate['input_usd_per_mtok']:>9.4f}  "
            f"{candidate['output_usd_per_mtok']:>9.4f}"
        )
    yield ""
    for line in summary["model_card"].splitlines():
        yield f"  {line}".rstrip()


def _pairs(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(numbers.items()))
