#!/usr/bin/env python3
"""Checks a proof that one event is in the log: proof.py FILE PUBLIC_KEY, the key in hexadecimal.

Written from docs/event-format.md alone, with the standard library; the signature is checked by the
openssl command. Exit code 0: proven; 1: not proven, with the step that fails.
"""
import json
import struct
import subprocess
import sys
import tempfile
import uuid

from verify import digest, sha256


def root_by(path, index, size, node):
    """Where an audit path leads from the leaf `index` of `size`; None if it is no such path."""
    index, last = index, size - 1
    for beside in map(bytes.fromhex, path):
        if last == 0:
            return None
        if index % 2 == 1 or index == last:
            node = sha256(b"\1", beside, node)
            while index % 2 == 0 and index != 0:
                index, last = index // 2, last // 2
        else:
            node = sha256(b"\1", node, beside)
        index, last = index // 2, last // 2
    return node if last == 0 else None


def is_signed(body, signature, public_key):
    der = bytes.fromhex("302a300506032b6570032100") + bytes.fromhex(public_key)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("key", der), ("body", body), ("signature", signature)):
            with open(f"{folder}/{name}", "wb") as file:
                file.write(content)
        command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in body -sigfile signature"
        return subprocess.run(command.split(), cwd=folder, capture_output=True).returncode == 0


def failing_step(proof, public_key):
    event, head, checkpoint = proof["event"], proof["head"], proof["checkpoint"]
    body = json.loads(checkpoint["body"])
    link = sha256(bytes.fromhex(event["previous_hash"]), digest(event))
    if proof["format"] != "finnest.proof.v1" or link.hex() != event["hash"]:
        return "the event is not the one that was sealed"
    index, size = event["org_sequence"] - 1, head["org_sequence"]
    root = root_by(proof["event_path"], index, size, sha256(b"\0", link)) if 0 <= index < size else None
    if root is None or root.hex() != head["root"] or head["org_id"] != event["org_id"]:
        return "the event is not in the tree of its organisation"
    leaf = uuid.UUID(head["org_id"]).bytes + struct.pack(">Q", size) + bytes.fromhex(head["link"] + head["root"])
    index, size = proof["head_index"], body["organisations"]
    root = root_by(proof["head_path"], index, size, sha256(b"\0", leaf)) if 0 <= index < size else None
    if root is None or root.hex() != body["root"]:
        return "the organisation is not in the checkpoint"
    if not is_signed(checkpoint["body"].encode(), bytes.fromhex(checkpoint["signature"]), public_key):
        return "the checkpoint is not signed with this key"
    return None


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as source:
        failure = failing_step(json.load(source), sys.argv[2])
    print(failure or "proven")
    sys.exit(1 if failure else 0)
