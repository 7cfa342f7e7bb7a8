"""Our decoder reads what real clients sent (`header_blocks.json`, written by `record.py`)."""

import json
from typing import Any

import pytest

from sidecar.transport.http2.hpack import Decoder
from tests.clients.record import FILE

RECORDED: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("client", RECORDED, ids=lambda client: f"{client['client']} {client['version']}")
def test_what_a_client_sent_in_one_call_after_another_is_read(client: dict[str, Any]) -> None:
    decoder = Decoder(max_list_bytes=1 << 14)
    assert client["blocks"]
    for block, fields in zip(client["blocks"], client["fields"], strict=True):
        assert decoder.decode(bytes.fromhex(block)) == [(name.encode(), value.encode()) for name, value in fields]
