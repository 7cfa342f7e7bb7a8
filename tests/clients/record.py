"""Writes `header_blocks.json`: what real clients send in the HEADERS of three calls in a row with a deadline.

`python -m tests.clients.record NAME VERSION COMMAND...` runs a command, in which `{address}` stands for HOST:PORT, against a
listener, and puts the header blocks in place of those of the same name and version. The fields are as the package hpack reads
them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpack import Decoder

from tests.clients.listener import Listener
from tests.clients.programs import PATIENCE_S

FILE = Path(__file__).with_name("header_blocks.json")


def record(command: Sequence[str]) -> dict[str, Any]:
    """What a client sent.

    Raises:
        CalledProcessError: the command failed.
    """
    with Listener() as listener:
        words = [word.replace("{address}", listener.address) for word in command]
        subprocess.run(words, check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    decoder = Decoder()
    return {
        "settings": listener.settings,
        "blocks": [block.hex() for block in listener.blocks],
        "fields": [[[str(name), str(value)] for name, value in decoder.decode(block)] for block in listener.blocks],
    }


def main(name: str, version: str, *command: str) -> None:
    """Records one client."""
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else []
    others = [one for one in known if (one["client"], one["version"]) != (name, version)]
    new = {"client": name, "version": version, **record(command)}
    all_of_them = sorted([*others, new], key=lambda one: (one["client"], one["version"]))
    FILE.write_text("[\n" + ",\n".join(json.dumps(one) for one in all_of_them) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
