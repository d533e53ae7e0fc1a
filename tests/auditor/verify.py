#!/usr/bin/env python3
"""Verifies an export of the event log: verify.py [FILE], or from standard input.

Written from docs/event-format.md alone, with nothing but the standard library, so that whoever
does not trust the platform need not trust its verifier either. Prints each finding as one line of
JSON. Exit code 0: everything holds; 1: something does not; 2: the file itself is no whole export.
"""
import hashlib
import json
import struct
import sys
import uuid

FIELDS = ("position", "org_id", "org_sequence", "event_id")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def digest(event):
    """The digest of an event, over what the line says was stored."""
    aggregate = event["aggregate_id"]
    fields = (
        b"finnest.event.v1",
        uuid.UUID(event.get("stored_event_id", event["event_id"])).bytes,
        uuid.UUID(event.get("stored_org_id", event["org_id"])).bytes,
        event["domain"].encode(),
        event["event_type"].encode(),
        struct.pack(">H", event["version"]),
        uuid.UUID(aggregate).bytes if aggregate else b"",
        event["payload"].encode(),
        event["metadata"].encode(),
        struct.pack(">q", event["recorded_at_us"]),
    )
    return sha256(*(struct.pack(">Q", len(field)) + field for field in fields))


def lines_of(file):
    """Header and lines, after the trailer vouches for every byte before it."""
    seen, count, header = hashlib.sha256(), 0, None
    for raw in file:
        line = json.loads(raw)
        if line.get("end"):
            if (line["lines"], line["sha256"]) != (count, seen.hexdigest()) or file.read(1):
                raise ValueError("the file does not match its last line")
            return
        if count == 0 and line.get("format") != "finnest.events.v1":
            raise ValueError("the first line names no format known here")
        seen.update(raw)
        count += 1
        yield line
    raise ValueError("the file ends before its last line")


def verify(lines):
    """Yields a finding for every place that does not hold."""
    header = next(lines)
    everything = header["scope"] == "all"
    last, chains = max((header.get("from") or 1) - 1, 0), {}
    is_part = last > 0
    for line in lines:
        def found(problem):
            return {"problem": problem, **{field: line.get(field) for field in FIELDS}}

        if line.get("without_seal"):
            yield found("missing_seal")
            continue
        previous, own = bytes.fromhex(line["previous_hash"]), bytes.fromhex(line["hash"])
        first = (line["org_sequence"] - 1, previous) if is_part else (0, bytes(32))
        sequence, link = chains.get(line["org_id"], first)
        if everything and line["position"] != last + 1:
            yield found("gap_in_position")
        if line["org_sequence"] != sequence + 1:
            yield found("gap_in_sequence")
        elif previous != link:
            yield found("previous_mismatch")
        if line.get("missing"):
            if not line.get("archived"):
                yield found("missing_event")
        elif sha256(previous, digest(line)) != own:
            yield found("hash_mismatch")
        chains[line["org_id"]] = line["org_sequence"], own
        last = line["position"]
    if everything and header["furthest_known"] > header["head"]:
        line = {"position": header["furthest_known"]}
        yield {"problem": "tail_cut_off", **{field: line.get(field) for field in FIELDS}}


if __name__ == "__main__":
    try:
        with open(sys.argv[1], "rb") if len(sys.argv) > 1 else sys.stdin.buffer as source:
            findings = list(verify(lines_of(source)))
    except (ValueError, KeyError, StopIteration) as error:
        print(f"verify.py: {error!r}", file=sys.stderr)
        sys.exit(2)
    for finding in sorted(findings, key=lambda it: (it["position"] or 1 << 63, json.dumps(it))):
        print(json.dumps(finding))
    sys.exit(1 if findings else 0)
