#!/usr/bin/python3
"""Checks at a PC/SC reader what a phone answers to SELECT, full and partial, and to its card manager.

Written from docs/protocol.md alone (sections 2, 3, 8, 10), ISO/IEC 7816-4 and the GlobalPlatform Card Specification.
One JSON line a check; exit status 0 when all held.
"""
import argparse
import json
import sys

import door_crypto as d
import pcsc_lock

PHONE_AIDS = {"01": d.AID_CR, "02": d.AID_AKA, "0F": d.AID_IDENTITY}
PARTIAL = d.AID_CR[:-1]


def fci_problem(aid, body):
    """None when the FCI is the documented one for this AID."""
    try:
        (tag, outer), = d.tlvs(body)
        if tag != 0x6F:
            return "not 6F"
        inner = d.tlvs(outer)
        if dict(inner).get(0x84) != aid:
            return "84 is not the AID"
        a5 = dict(d.tlvs(dict(inner)[0xA5]))
    except (ValueError, KeyError) as e:
        return "malformed: %r" % e
    if a5.get(0x80) != d.VERSION:
        return "version"
    if aid != d.AID_IDENTITY and (len(a5.get(0x81, b"")) != 16 or len(a5.get(0x82, b"")) != 16):
        return "RP or T"
    return None


class Checks:
    def __init__(self, transmit):
        self.transmit, self.failed = transmit, 0

    def send(self, *c):
        r = self.transmit(d.capdu(*c))
        return r[:-2], r[-2:].hex().upper()

    def select(self, aid, p2=0):
        return self.send(0x00, 0xA4, 0x04, p2, aid)

    def note(self, name, ok, **more):
        self.failed += not ok
        print(json.dumps({"check": name, "ok": bool(ok), **more}), flush=True)

    def applications(self, expected):
        for suffix, aid in PHONE_AIDS.items():
            body, sw = self.select(aid)
            if sw == "9000":
                problem = fci_problem(aid, body)
            elif suffix in expected:
                problem = "expected"
            else:
                problem = None if sw in ("6A82", "6985") else "status word"
            self.note("SELECT full " + suffix, problem is None, sw=sw, problem=problem)
            if sw == "9000" and suffix != "0F":
                again, _ = self.select(aid)
                self.note("new RP and T " + suffix, again != body and fci_problem(aid, again) is None)

    def partial(self):
        found, p2 = [], 0x00
        while True:
            body, sw = self.select(PARTIAL, p2)
            if sw != "9000" or len(found) > 16:
                break
            aid = dict(d.tlvs(d.tlvs(body)[0][1])).get(0x84)
            self.note("SELECT partial %s" % ("next" if p2 else "first"), aid and aid.startswith(PARTIAL)
                      and aid not in found and fci_problem(aid, body) is None, aid=aid and aid.hex())
            found.append(aid)
            p2 = 0x02
        self.note("SELECT partial ends", found and sw == "6A82", sw=sw, found=len(found))

    def refusals(self):
        _, sw = self.select(bytes.fromhex("F0544150444F4F527E"))
        self.note("SELECT unknown AID", sw == "6A82", sw=sw)
        if self.select(d.AID_CR)[1] != "9000":
            return
        for name, c, want in (("instruction", (0x80, 0xFE, 0, 0), "6D00"), ("class", (0xA0, 0x88, 0, 0), "6E00"),
                              ("logical channel", (0x81, 0x88, 0, 0, bytes(0x2C)), "6881"),
                              ("secure messaging", (0x84, 0x88, 0, 0, bytes(0x2C)), "6882"),
                              ("P1-P2", (0x80, 0x88, 1, 0, bytes(0x2C)), "6A86"),
                              ("length", (0x80, 0x88, 0, 0, bytes(0x2B)), "6700"),
                              ("proof wrong", (0x80, 0x88, 0, 0, bytes(0x2C)), "6982"),
                              ("spent", (0x80, 0x88, 0, 0, bytes(0x2C)), "6985"),
                              ("unsealed opened", (0x80, 0x3C, 0, 0, b"\0", None), "6A80"),
                              ("sealed without K3", (0x80, 0x3C, 1, 0, bytes(8), None), "6985"),
                              ("CONTROL FLOW P1-P2", (0x80, 0x3C, 2, 0, b"\1", None), "6A86"),
                              ("CONTROL FLOW length", (0x80, 0x3C, 0, 0, b"\1\1", None), "6700")):
            _, sw = self.send(*c)
            self.note(name, sw == want, sw=sw, want=want)

    def card_manager(self):
        for name, aid in (("empty AID", b""), ("by AID", d.AID_CARD_MANAGER)):
            body, sw = self.select(aid)
            try:
                outer = dict(d.tlvs(body)).get(0x6F, b"")
                isd = dict(d.tlvs(outer)).get(0x84)
            except ValueError:
                isd = None
            self.note("card manager " + name, sw == "9000" and isd == d.AID_CARD_MANAGER, sw=sw,
                      aid=isd and isd.hex())
        for name, p1p2, top in (("card data", (0x00, 0x66), 0x66), ("key information", (0x00, 0xE0), 0xE0),
                                ("CPLC", (0x9F, 0x7F), 0x9F7F)):
            body, sw = self.send(0x80, 0xCA, *p1p2)
            ok = sw == "6A88"
            if sw == "9000":
                try:
                    ok = d.tlvs(body)[0][0] == top
                except (ValueError, IndexError):
                    ok = False
            self.note("GET DATA " + name, ok, sw=sw, data=body.hex())
        _, sw = self.send(0x80, 0xCA, 0x7E, 0x7E)
        self.note("GET DATA unknown", sw == "6A88", sw=sw)
        for p1 in (0x80, 0x40, 0x20):
            body, sw = self.send(0x80, 0xF2, p1, 0x02, bytes.fromhex("4F00"))
            ok = sw in ("6982", "6985", "6A88")       # GP: without a secure channel it may be refused
            if sw in ("9000", "6310"):
                try:
                    ok = all(t == 0xE3 and 0x4F in dict(d.tlvs(v)) and 0x9F70 in dict(d.tlvs(v))
                             for t, v in d.tlvs(body))
                except ValueError:
                    ok = False
            self.note("GET STATUS %02X" % p1, ok, sw=sw, data=body.hex())


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--reader", required=True, metavar="FRAGMENT")
    p.add_argument("--expect", default="01", metavar="01,02,0F", help="applications that must be there")
    p.add_argument("--no-partial", action="store_true")
    p.add_argument("--no-card-manager", action="store_true")
    p.add_argument("--time-out", type=float, default=15.0, metavar="S")
    a = p.parse_args()
    try:
        with pcsc_lock.open_card(a.reader, a.time_out) as card:
            c = Checks(card.transmit)
            c.applications(a.expect.upper().split(","))
            if not a.no_partial:
                c.partial()
            c.refusals()
            if not a.no_card_manager:
                c.card_manager()
    except pcsc_lock.NoCard as e:
        print(json.dumps({"check": "card", "ok": False, "problem": str(e)}), flush=True)
        return 1
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())
