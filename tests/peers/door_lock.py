"""What the challenge-response and the AKA lock share: the list, recognising a phone, CONTROL FLOW, the command line.

Written from docs/protocol.md alone (sections 1, 3, 7). A list file is a JSON array of objects with phone_id, k_id,
k_l, milenage (K || OPc), tuak (K || TOPc), all hex, and method, not_after, flags, numbers.
"""
import argparse
import json
import os
import time
from collections import deque

import door_crypto as d
import pcsc_lock


class Refused(Exception):
    """A reason of section 7; `sealed_with` is K3 when mutual authentication was completed."""

    def __init__(self, reason, sealed_with=None):
        super().__init__(reason)
        self.reason, self.k3 = reason, sealed_with


def entry_for(phone_id, k_ph, lock_id, method=1, not_after=0, flags=0):
    return {"phone_id": phone_id, "method": method, "not_after": not_after, "flags": flags, "k_id": d.k_id(k_ph),
            "k_l": d.k_l(k_ph, lock_id), "milenage": d.k_milenage(k_ph, lock_id), "tuak": d.k_tuak(k_ph, lock_id)}


def load_list(path):
    with open(path, encoding="utf-8") as f:
        return [{"method": 1, "not_after": 0, "flags": 0,
                 **{k: bytes.fromhex(v) if isinstance(v, str) else v for k, v in e.items()}} for e in json.load(f)]


class DoorLock:
    aid, method = None, None

    def __init__(self, lock_id, entries, rng=os.urandom, clock=time.time):
        self.lock_id, self.entries, self.rng, self.clock = lock_id, entries, rng, clock
        self.seen = deque(maxlen=64)

    def tap(self, transmit):
        """One tap over transmit(C-APDU) -> R-APDU. Returns the event; CONTROL FLOW is not counted in it."""
        event = {"event": "tap", "verdict": "refused", "reason": None, "phone": None, "apdus": 0, "bytes": 0}

        def exchange(c):
            event["apdus"] += 1
            event["bytes"] += len(c)
            try:
                r = transmit(c)
            except (pcsc_lock.NoCard, ConnectionError):
                raise Refused("torn") from None
            event["bytes"] += len(r)
            return r[:-2], r[-2:].hex().upper()

        try:
            entry, rp = self._recognise(exchange, event)
            k3 = self._authenticate(exchange, entry, rp, event)
            event.update(verdict="open", reason="opened")
        except Refused as e:
            event["reason"], k3 = e.reason, e.k3
        event["sealed"] = k3 is not None
        event["control_flow"] = self._control_flow(transmit, event["reason"], k3)
        return event

    def _recognise(self, exchange, event):
        body, sw = exchange(d.capdu(0x00, 0xA4, 0x04, 0x00, self.aid))
        if sw != "9000":
            raise Refused("app-missing" if sw == "6A82" else "card-error")
        try:
            outer = dict(d.tlvs(body))[0x6F]
            inner = dict(d.tlvs(dict(d.tlvs(outer))[0xA5]))
            version, rp, t = inner[0x80], inner[0x81], inner[0x82]
        except (ValueError, KeyError):
            raise Refused("card-error") from None
        if version != d.VERSION or len(rp) != 16 or len(t) != 16:
            raise Refused("card-error")
        entry = next((e for e in self.entries if d.tag_t(e["k_id"], version, self.aid, rp) == t), None)
        if entry is None:
            raise Refused("unknown-phone")
        event.update(phone=entry["phone_id"].hex(), rp=rp.hex())
        if rp in self.seen:
            raise Refused("replay")
        self.seen.append(rp)
        if entry["not_after"] and entry["not_after"] <= self.clock():
            raise Refused("not-entitled")
        if entry["method"] > self.method:
            raise Refused("policy")
        return entry, rp

    def _control_flow(self, transmit, reason, k3):
        """Best effort; the answer is for people only."""
        if reason in ("unknown-phone", "replay", "app-missing", "torn"):
            return None
        code = d.CODE[reason]
        c = (d.capdu(0x80, 0x3C, 1, 0, d.cf_seal(k3, code), None) if k3
             else d.capdu(0x80, 0x3C, 0, 0, bytes([code]), None))
        try:
            return transmit(c)[-2:].hex().upper()
        except (pcsc_lock.NoCard, ConnectionError):
            return "lost"


def arguments(doc):
    p = argparse.ArgumentParser(description=doc.splitlines()[0])
    p.add_argument("--reader", required=True, metavar="FRAGMENT")
    p.add_argument("--lock-id", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--list", metavar="FILE.json")
    p.add_argument("--phone-id", type=bytes.fromhex, metavar="HEX")
    p.add_argument("--k-ph", type=bytes.fromhex, metavar="HEX")
    p.add_argument("--aid", type=bytes.fromhex, metavar="HEX", help="another AID than the page's")
    p.add_argument("--require-user", action="store_true", help="flags bit 0 of the --phone-id entry")
    p.add_argument("--weakest", type=int, default=1, metavar="N", help="weakest method of the --phone-id entry")
    p.add_argument("--not-after", type=int, default=0, metavar="SECONDS", help="not-after of the --phone-id entry")
    p.add_argument("--wrong-key", action="store_true", help="K_id right, the other keys of the --phone-id entry wrong")
    p.add_argument("--time-out", type=float, default=15.0, metavar="S")
    return p


def entries(p, a):
    if a.list:
        return load_list(a.list)
    if not (a.phone_id and a.k_ph):
        p.error("--list, or --phone-id and --k-ph")
    entry = entry_for(a.phone_id, a.k_ph, a.lock_id, a.weakest, a.not_after, int(a.require_user))
    if a.wrong_key:
        entry.update({k: bytes([entry[k][0] ^ 1]) + entry[k][1:] for k in ("k_l", "milenage", "tuak")})
    return [entry]


def run(lock, a):
    """One tap at a PC/SC reader; exit status 0 open, 1 refused."""
    if a.aid:
        lock.aid = a.aid
    try:
        with pcsc_lock.open_card(a.reader, a.time_out) as card:
            event = lock.tap(card.transmit)
    except pcsc_lock.NoCard as e:
        event = {"event": "tap", "verdict": "refused", "reason": "timeout", "phone": None, "apdus": 0, "bytes": 0,
                 "detail": str(e)}
    print(json.dumps(event), flush=True)
    return 0 if event["verdict"] == "open" else 1
