#!/usr/bin/python3
"""A USIM host at a PC/SC reader: the sequence of section 6, RES, CK and IK against K and OPc.

Written from docs/protocol.md alone (section 6), TS 31.102 and TS 102 221. Laboratory use only.
"""
import argparse
import json
import os
import sys
import time

import aka_common as aka
import door_crypto as d
import pcsc_lock
from milenage import Milenage

PARTIAL = bytes.fromhex("A0000000871002")


class Failed(Exception):
    pass


def digits(coded):
    return "".join("%X%X" % (b & 15, b >> 4) for b in coded).rstrip("F")


class UsimHost:
    def __init__(self, k, opc, lock_number=0, pin=None, state=None, rng=os.urandom, clock=time.time):
        self.alg, self.ind, self.pin, self.rng = Milenage(k, opc), lock_number % 32, pin, rng
        self.sequence = aka.LockSequence(state, clock)

    def run(self, transmit):
        """transmit does GET RESPONSE and 6Cxx. Returns the event."""
        event = {"event": "tap", "verdict": "refused", "reason": None, "phone": None, "apdus": 0, "bytes": 0}

        def send(*c):
            c = d.capdu(*c)
            r = transmit(c)
            event["apdus"] += 1
            event["bytes"] += len(c) + len(r)
            return r[:-2], r[-2:].hex().upper()

        try:
            self._run(send, event)
            event.update(verdict="open", reason="opened")
        except Failed as e:
            event["reason"] = str(e)
        except (pcsc_lock.NoCard, ConnectionError):
            event["reason"] = "torn"
        return event

    def _run(self, send, event):
        _, sw = send(0, 0xA4, 0x04, 0x04, PARTIAL)
        if sw == "6A82":
            aid = self._from_ef_dir(send)
            event["aid"] = aid.hex()
            _, sw = send(0, 0xA4, 0x04, 0x04, aid)
        if sw != "9000":
            raise Failed("app-missing" if sw == "6A82" else "card-error")
        if self.pin:
            _, sw = send(0, 0x20, 0x00, 0x01, self.pin.encode().ljust(8, b"\xff"), None)
            if sw != "9000":
                raise Failed("card-error")
        _, sw = send(0, 0xA4, 0x00, 0x04, bytes.fromhex("6F07"))
        imsi, sw2 = send(0, 0xB0, 0x00, 0x00, b"", 9)
        if (sw, sw2) != ("9000", "9000") or len(imsi) != 9 or not 1 <= imsi[0] <= 8:
            raise Failed("card-error")
        event["phone"] = digits(imsi[1:1 + imsi[0]])[1:]
        for attempt in (1, 2):
            rand, seq = self.rng(16), self.sequence.next(event["phone"])
            autn = aka.autn(self.alg, rand, aka.sqn_of(seq, self.ind))
            body, sw = send(0, 0x88, 0x00, 0x81, b"\x10" + rand + b"\x10" + autn)
            if sw == "9862":
                raise Failed("wrong-key")
            if sw != "9000":
                raise Failed("card-error")
            if body[:1] == b"\xdb":
                return self._success(body, rand, event)
            if body[:2] != b"\xdc\x0e" or len(body) != 16:
                raise Failed("card-error")
            sqn_ms = aka.open_auts(self.alg, rand, body[2:])
            if sqn_ms is None:
                raise Failed("wrong-key")
            if attempt == 2:
                raise Failed("resync-failed")
            event["resynchronised_to"] = int.from_bytes(sqn_ms, "big") >> 5
            self.sequence.resynchronise(event["phone"], event["resynchronised_to"])

    def _success(self, body, rand, event):
        parts, i = [], 1
        while i < len(body):
            parts.append(body[i + 1:i + 1 + body[i]])
            i += 1 + body[i]
        if i != len(body) or len(parts) not in (3, 4):
            raise Failed("card-error")
        res, ck, ik, _ = self.alg.f2345(rand)
        event.update(res_match=parts[0] == res, ck_match=parts[1] == ck, ik_match=parts[2] == ik)
        if not event["res_match"]:
            raise Failed("wrong-key")
        if not (event["ck_match"] and event["ik_match"]):
            raise Failed("card-error")

    def _from_ef_dir(self, send):
        _, sw = send(0, 0xA4, 0x08, 0x0C, bytes.fromhex("2F00"), None)
        if sw != "9000":
            raise Failed("app-missing")
        for n in range(1, 255):
            record, sw = send(0, 0xB2, n, 0x04)
            if sw == "6A83":
                break
            if sw != "9000":
                raise Failed("card-error")
            try:
                aid = dict(d.tlvs(dict(d.tlvs(record.rstrip(b"\xff")))[0x61]))[0x4F]
            except (ValueError, KeyError):
                continue
            if aid.startswith(PARTIAL):
                return aid
        raise Failed("app-missing")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--reader", required=True, metavar="FRAGMENT")
    p.add_argument("--k", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--opc", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--lock-number", type=int, default=0, metavar="N")
    p.add_argument("--pin")
    p.add_argument("--state", metavar="FILE", help="keep DIF and last durably here")
    p.add_argument("--time-out", type=float, default=15.0, metavar="S")
    a = p.parse_args()
    try:
        with pcsc_lock.open_card(a.reader, a.time_out) as card:
            event = UsimHost(a.k, a.opc, a.lock_number, a.pin, a.state).run(card.transmit)
    except pcsc_lock.NoCard as e:
        event = {"event": "tap", "verdict": "refused", "reason": "timeout", "detail": str(e)}
    print(json.dumps(event), flush=True)
    return 0 if event["verdict"] == "open" else 1


if __name__ == "__main__":
    sys.exit(main())
