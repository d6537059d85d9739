#!/usr/bin/python3
"""A lock that breaks the rules, at a PC/SC reader: what a phone must answer to what an honest lock never sends.

Written from docs/protocol.md alone (sections 3, 4, 5, 7, 10). One JSON line a check; exit status 0 when all held.
"""
import argparse
import json
import os
import sys
import time

import aka_common as aka
import door_crypto as d
import pcsc_lock

GOOD = "9000"


class Checks:
    aid = None

    def __init__(self, transmit, lock_id, phone_id, k_ph):
        self.transmit, self.lock_id, self.phone_id, self.failed = transmit, lock_id, phone_id, 0
        self.k_ph, self.k_id, self.k_l = k_ph, d.k_id(k_ph), d.k_l(k_ph, lock_id)

    def note(self, name, ok, **more):
        self.failed += not ok
        print(json.dumps({"check": name, "ok": bool(ok), **more}), flush=True)

    def is_sw(self, name, got, want):
        self.note(name, got == want, sw=got, want=want)

    def send(self, c):
        r = self.transmit(c)
        return r[:-2], r[-2:].hex().upper()

    def select(self):
        """RP; T is checked in passing."""
        body, sw = self.send(d.capdu(0x00, 0xA4, 0x04, 0x00, self.aid))
        if sw != GOOD:
            raise SystemExit("SELECT: " + sw)
        a5 = dict(d.tlvs(dict(d.tlvs(dict(d.tlvs(body))[0x6F]))[0xA5]))
        if a5[0x82] != d.tag_t(self.k_id, a5[0x80], self.aid, a5[0x81]):
            raise SystemExit("T does not name this phone")
        return a5[0x81]

    def flow(self, sealed_with=None, code=0, data=None):
        if sealed_with:
            return self.send(d.capdu(0x80, 0x3C, 1, 0, d.cf_seal(sealed_with, code), None))[1]
        return self.send(d.capdu(0x80, 0x3C, 0, 0, bytes([code]), None))[1]

    def control_flow(self, name, authenticate):
        """`authenticate()` gives K3 of a mutual authentication just done."""
        k3 = authenticate()
        self.is_sw(name + ": opened, but plain", self.flow(code=0), "6A80")
        k3 = authenticate()
        wrong = bytes([k3[0] ^ 1]) + k3[1:]
        self.is_sw(name + ": sealed with a wrong key", self.flow(wrong), "6982")
        self.is_sw(name + ": and then with the right one, which is forgotten", self.flow(k3), "6985")
        k3 = authenticate()
        self.is_sw(name + ": sealed, unknown code", self.flow(k3, 0x0C), "6982")
        k3 = authenticate()
        self.is_sw(name + ": sealed, opened", self.flow(k3), GOOD)
        self.is_sw(name + ": sealed, a second time", self.flow(k3), "6985")
        k3 = authenticate()
        self.select()
        self.is_sw(name + ": sealed, after another SELECT", self.flow(k3), "6985")
        for code in range(1, len(d.REASONS)):
            self.is_sw("%s: plain, code %02X" % (name, code), self.flow(code=code), GOOD)
        self.is_sw(name + ": plain, unknown code", self.flow(code=0x0C), "6A80")


class ChallengeResponse(Checks):
    aid = d.AID_CR

    def command(self, rp, k_l=None, clock=None, role=b"L"):
        """AUTHENTICATE, and what opens its answer: (C-APDU, K2, K3, TL)."""
        rl = os.urandom(16)
        keys = d.cr_keys(k_l or self.k_l, rp, rl, self.lock_id, self.phone_id, d.VERSION, self.aid)
        tl = d.ccm_seal(keys[0], role, int(time.time() if clock is None else clock).to_bytes(4, "big"))
        return d.capdu(0x80, 0x88, 0, 0, rl + self.lock_id + tl), keys[1], keys[2], tl

    def authenticate(self, clock=None):
        c, k2, k3, tl = self.command(self.select(), clock=clock)
        tp, sw = self.send(c)
        if sw != GOOD or d.ccm_open(k2, b"P" + tl, tp) is None:
            raise SystemExit("AUTHENTICATE: " + sw)
        return k3

    def run(self):
        rp = self.select()
        c, *_ = self.command(rp)
        self.is_sw("right proof", self.send(c)[1], GOOD)
        self.is_sw("the same again without SELECT", self.send(c)[1], "6985")
        self.select()
        self.is_sw("the same again after SELECT: a replay", self.send(c)[1], "6982")
        self.is_sw("a right proof behind it: RP is spent", self.send(self.command(rp)[0])[1], "6985")
        rp = self.select()
        self.is_sw("proof under another key", self.send(self.command(rp, k_l=bytes(16))[0])[1], "6982")
        rp = self.select()
        self.is_sw("proof in the phone's role", self.send(self.command(rp, role=b"P")[0])[1], "6982")
        old = self.select()
        self.select()
        self.is_sw("proof for the RP of an earlier SELECT", self.send(self.command(old)[0])[1], "6982")
        rp = self.select()
        c, k2, k3, tl = self.command(rp, clock=0)
        body, sw = self.send(c[:-1])
        self.note("without Le, clock 0", sw == GOOD and d.ccm_open(k2, b"P" + tl, body) is not None, sw=sw)
        rp = self.select()
        c, k2, k3, tl = self.command(rp, clock=0xFFFFFFFF)
        data = c[5:-1]
        body, sw = self.send(c[:4] + b"\0" + len(data).to_bytes(2, "big") + data + b"\0\0")
        self.note("extended lengths, latest clock", sw == GOOD and d.ccm_open(k2, b"P" + tl, body) is not None, sw=sw)
        rp = self.select()
        c, k2, k3, tl = self.command(rp)
        data = c[5:-1]
        _, first = self.send(bytes([0x90]) + c[1:4] + bytes([20]) + data[:20])
        body, sw = self.send(c[:4] + bytes([len(data) - 20]) + data[20:] + b"\0")
        self.note("as a command chain", first == sw == GOOD and d.ccm_open(k2, b"P" + tl, body) is not None, first=first, sw=sw)
        self.control_flow("CONTROL FLOW", self.authenticate)


class Aka(Checks):
    aid = d.AID_AKA

    def __init__(self, *args, algorithm="milenage"):
        super().__init__(*args)
        self.p2 = aka.ALGORITHMS[algorithm]
        keys = (d.k_milenage if algorithm == "milenage" else d.k_tuak)(self.k_ph, self.lock_id)
        self.alg = aka.algorithm(algorithm, keys)
        self.seq = 0

    def quantities(self, sqn, amf=bytes(2), spoil=False):
        rand = os.urandom(16)
        autn = aka.autn(self.alg, rand, sqn, amf)
        if spoil:
            autn = autn[:-1] + bytes([autn[-1] ^ 1])
        return rand, d.capdu(0x80, 0x88, 0, self.p2, rand + autn + self.lock_id)

    def context(self, rp, rand, attempt):
        return d.binding(rp, rand, self.lock_id, self.phone_id, d.VERSION, self.aid) + bytes([self.p2, attempt])

    def success(self, rand, body):
        return len(body) == 10 and body == b"\xdb\x08" + self.alg.f2345(rand)[0]

    def seq_ms(self, rp, rand, attempt, body):
        """What a DC says: SEQ_MS, or None for a wrong MAC; -1 when it is no DC at all."""
        if len(body) != 32 or body[:2] != b"\xdc\x1e":
            return -1
        auts = d.ccm_open(d.kdf(self.k_l, "AKA1", self.context(rp, rand, attempt), 128), b"S", body[2:])
        sqn = auts and aka.open_auts(self.alg, rand, auts)
        return int.from_bytes(sqn, "big") >> 5 if sqn else None

    def next(self):
        self.seq += 1
        return aka.sqn_of(self.seq)

    def synchronise(self):
        """Learns what the phone has accepted from us, the way a lock does."""
        rp = self.select()
        rand, c = self.quantities(aka.sqn_of(0))
        body, sw = self.send(c)
        self.seq = self.seq_ms(rp, rand, 1, body)
        self.note("SEQ 0 is a sequence failure", sw == GOOD and self.seq is not None and self.seq >= 0, sw=sw, seq_ms=self.seq)
        if self.seq is None or self.seq < 0:
            raise SystemExit("no AUTS to go on with")

    def authenticate(self):
        rp = self.select()
        rand, c = self.quantities(self.next())
        body, sw = self.send(c)
        if not self.success(rand, body):
            raise SystemExit("AUTHENTICATE: " + sw)
        _, ck, ik, _ = self.alg.f2345(rand)
        return d.kdf(ck + ik, "AKA3", self.context(rp, rand, 1), 128)

    def run(self):
        self.synchronise()
        rp = self.select()
        rand, c = self.quantities(self.next())
        body, sw = self.send(c)
        self.note("right AUTN", sw == GOOD and self.success(rand, body), sw=sw)
        self.is_sw("the same again without SELECT", self.send(c)[1], "6985")
        rp = self.select()
        first, sw = self.send(c)
        self.note("the same again after SELECT: a replay", sw == GOOD and self.seq_ms(rp, rand, 1, first) == self.seq, sw=sw)
        second, sw = self.send(c)
        self.note("and once more after the DC, with another X", sw == GOOD and self.seq_ms(rp, rand, 2, second) == self.seq
                  and second != first, sw=sw)
        self.is_sw("a third time", self.send(c)[1], "6985")

        rp = self.select()
        rand, c = self.quantities(aka.sqn_of(self.seq + 1), spoil=True)
        first, sw = self.send(c)
        self.note("wrong MAC looks like a sequence failure", sw == GOOD and self.seq_ms(rp, rand, 1, first) is None, sw=sw)
        rand, c = self.quantities(self.next())
        body, sw = self.send(c)
        self.note("a right AUTN behind the DC", sw == GOOD and self.success(rand, body), sw=sw)
        _, ck, ik, _ = self.alg.f2345(rand)
        self.is_sw("CONTROL FLOW sealed with the key of the second attempt",
                   self.flow(d.kdf(ck + ik, "AKA3", self.context(rp, rand, 2), 128)), GOOD)

        rp = self.select()
        rand, c = self.quantities(aka.sqn_of(self.seq + aka.DELTA + 1))
        body, sw = self.send(c)
        self.note("SEQ more than 2^28 ahead", sw == GOOD and self.seq_ms(rp, rand, 1, body) == self.seq, sw=sw)
        self.select()
        rand, c = self.quantities(aka.sqn_of(self.seq + 1, ind=31), amf=b"\x80\x00")
        body, sw = self.send(c)
        self.note("any AMF and IND", sw == GOOD and self.success(rand, body), sw=sw)
        self.seq += 1

        self.select()
        _, c = self.quantities(aka.sqn_of(self.seq + 1))
        self.is_sw("P2 of no algorithm", self.send(c[:3] + b"\x02" + c[4:])[1], "6A86")
        self.is_sw("a byte too few", self.send(d.capdu(0x80, 0x88, 0, self.p2, bytes(0x27)))[1], "6700")
        rand, c = self.quantities(self.next())
        body, sw = self.send(c)
        self.note("RP was not spent by those", sw == GOOD and self.success(rand, body), sw=sw)
        self.control_flow("CONTROL FLOW", self.authenticate)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--reader", required=True, metavar="FRAGMENT")
    p.add_argument("--lock-id", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--phone-id", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--k-ph", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--method", choices=["cr", "aka"], default="cr")
    p.add_argument("--algorithm", choices=list(aka.ALGORITHMS), default="milenage")
    p.add_argument("--time-out", type=float, default=15.0, metavar="S")
    a = p.parse_args()
    try:
        with pcsc_lock.open_card(a.reader, a.time_out) as card:
            args = card.transmit, a.lock_id, a.phone_id, a.k_ph
            c = ChallengeResponse(*args) if a.method == "cr" else Aka(*args, algorithm=a.algorithm)
            try:
                c.run()
            except SystemExit as e:
                c.note("to the end", False, problem=str(e))
    except pcsc_lock.NoCard as e:
        print(json.dumps({"check": "card", "ok": False, "problem": str(e)}), flush=True)
        return 1
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())
