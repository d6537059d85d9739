"""What the challenge-response and the AKA phone share: SELECT, CONTROL FLOW, the order of the checks, the command line.

Written from docs/protocol.md alone (sections 3, 7, 10).
"""
import argparse
import json
import os

import door_crypto as d
import vpcd_card


class Refuse(Exception):
    """A status word."""


class DoorPhone:
    """One door application. `rng` is injectable for test vectors, `report` takes one dict per event."""
    atr = vpcd_card.CONTACTLESS_ATR
    aid = None

    def __init__(self, phone_id, k_ph, report=lambda e: None, rng=os.urandom, wrong_key=False, personalised=True):
        self.phone_id, self.report, self.rng, self.personalised = phone_id, report, rng, personalised
        self.k_id = d.k_id(k_ph)
        # a wrong key that is still recognised: K_id is right, everything derived for the lock is not
        self.k_ph = bytes([k_ph[0] ^ 1]) + k_ph[1:] if wrong_key else k_ph
        self.selected_once = self.over = False
        self.trace, self.instead = False, {}          # a laboratory's: report every APDU and their sum; R-APDUs instead of our own, by INS
        self.apdus = self.bytes = 0                   # of this tap, CONTROL FLOW and the reader's own commands (FF) aside
        self._clear()

    def _clear(self):
        self.selected, self.rp, self.k3 = False, None, None

    # card object for vpcd_card ------------------------------------------------------------
    def power(self, on):
        if not on and self.selected_once:
            self.over = True           # the field went away after a SELECT: the tap is over
        self.apdus = self.bytes = 0
        self._clear()

    def tap_over(self):
        over = self.over
        if over:
            self.over = self.selected_once = False
        return over

    def apdu(self, raw):
        instead = self.instead.get(raw[1]) if len(raw) >= 4 else None
        r = self._answer(raw) if instead is None else instead(raw)
        if raw[:1] != b"\xff" and raw[1:2] != b"\x3c":
            self.apdus, self.bytes = self.apdus + 1, self.bytes + len(raw) + len(r)
        if self.trace:
            self.report({"event": "apdu", "c": raw.hex(), "r": r.hex()})
        return r

    def _answer(self, raw):
        try:
            return self._apdu(raw) + b"\x90\x00"
        except Refuse as e:
            sw = str(e)
            self.report({"event": "refused", "ins": raw[1:2].hex(), "sw": sw})
            return bytes.fromhex(sw)

    # the page -------------------------------------------------------------------------------
    def _apdu(self, raw):
        parsed = d.parse_capdu(raw)
        if parsed is None:
            raise Refuse("6700")
        cla, ins, p1, p2, data, _ = parsed
        if cla & 0x70 == 0x40 or cla & 0x03:
            raise Refuse("6881")
        if cla & 0x0C:
            raise Refuse("6882")
        if cla not in (0x00, 0x80):
            raise Refuse("6E00")
        if cla == 0x00 and ins == 0xA4:
            return self._select(p1, p2, data)
        if cla != 0x80:
            raise Refuse("6E00")
        if ins not in (0x88, 0x3C):
            raise Refuse("6D00")
        if ins == 0x3C:
            return self._control_flow(p1, p2, data)
        return self._authenticate(p1, p2, data)

    def _select(self, p1, p2, data):
        if p1 != 0x04 or p2 not in (0x00, 0x02):
            raise Refuse("6A86")
        if p2 == 0x02 or len(data) < 5 or not self.aid.startswith(data):
            raise Refuse("6A82")
        if not self.personalised:
            raise Refuse("6985")
        self.selected, self.selected_once, self.k3, self.rp = True, True, None, self.rng(16)
        self._selected()
        self.report({"event": "selected", "aid": self.aid.hex(), "rp": self.rp.hex()})
        return d.fci(self.aid, d.VERSION, self.rp, d.tag_t(self.k_id, d.VERSION, self.aid, self.rp))

    def _selected(self):
        pass

    def _control_flow(self, p1, p2, data):
        if (p1, p2) not in ((1, 0), (0, 0)):
            raise Refuse("6A86")
        sealed = p1 == 1
        if len(data) != (8 if sealed else 1):
            raise Refuse("6700")
        if not self.selected:
            raise Refuse("6985")
        k3, self.k3 = self.k3, None
        if sealed:
            if k3 is None:
                raise Refuse("6985")
            code = d.cf_open(k3, data)
            if code is None:
                raise Refuse("6982")
        else:
            code = data[0]
        if code >= len(d.REASONS) or (code == 0 and not sealed):
            raise Refuse("6A80")
        self.over = True               # accepted: the tap is over
        if self.trace:
            self.report({"event": "traffic", "apdus": self.apdus, "bytes": self.bytes})
        self.report({"event": "control-flow", "code": code, "reason": d.REASONS[code], "sealed": sealed})
        return b""


def print_event(event):
    print(json.dumps(event), flush=True)


def arguments(doc):
    p = argparse.ArgumentParser(description=doc.splitlines()[0])
    p.add_argument("--vpcd", required=True, metavar="HOST:PORT")
    p.add_argument("--phone-id", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--k-ph", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--aid", type=bytes.fromhex, metavar="HEX", help="another AID than the page's")
    p.add_argument("--wrong-key", action="store_true", help="K_id right (recognised), the lock's keys wrong")
    p.add_argument("--not-personalised", action="store_true")
    p.add_argument("--taps", type=int, default=0, metavar="N", help="stop after N taps (0: never)")
    p.add_argument("--trace", action="store_true", help="report every APDU, and their sum before CONTROL FLOW")
    lab = p.add_argument_group("laboratory: a phone that breaks the page's rules")
    lab.add_argument("--rp", type=bytes.fromhex, metavar="HEX", help="the same RP for every SELECT")
    lab.add_argument("--select-answer", metavar="HEX", help="this R-APDU to every SELECT of our application")
    lab.add_argument("--authenticate-answer", metavar="HEX", help="this R-APDU to every AUTHENTICATE; `reflect`: the lock's own proof")
    return p


def serve(phone, a):
    if a.aid:
        phone.aid = a.aid
    phone.trace = a.trace
    if a.rp:
        phone.rng = lambda n: a.rp
    if a.select_answer:
        fixed, honest = bytes.fromhex(a.select_answer), phone._answer
        phone.instead[0xA4] = lambda raw: fixed if raw[5:5 + raw[4]] == phone.aid else honest(raw)
    if a.authenticate_answer == "reflect":
        phone.instead[0x88] = lambda raw: raw[-21:-1] + b"\x90\x00"
    elif a.authenticate_answer:
        phone.instead[0x88] = lambda raw: bytes.fromhex(a.authenticate_answer)
    try:
        vpcd_card.serve(phone, a.vpcd, a.taps)
    except (ConnectionError, OSError) as e:
        print_event({"event": "error", "what": str(e)})
        return 1
    except KeyboardInterrupt:
        pass
    return 0
