#!/usr/bin/python3
"""A test USIM card over vpcd: EF.DIR, EF_ICCID, EF_IMSI, PIN, AUTHENTICATE in the 3G context.

Written from docs/protocol.md alone (section 6), TS 31.102, TS 102 221 and TS 33.102 Annex C. Laboratory use only.
"""
import argparse
import sys

import aka_common as aka
import door_crypto as d
import vpcd_card
from door_phone import Refuse, print_event
from milenage import Milenage

INDS = 32


def swapped(digits):
    """BCD, nibbles swapped, padded with F."""
    digits += "F" * (len(digits) % 2)
    return bytes.fromhex("".join(digits[i + 1] + digits[i] for i in range(0, len(digits), 2)))


def ef_imsi(imsi):
    coded = swapped(("9" if len(imsi) % 2 else "1") + imsi)
    return bytes([len(coded)]) + coded.ljust(8, b"\xff")


class UsimCard:
    def __init__(self, k, opc, imsi="001010123456789", iccid="8988211000000000012", aid=d.AID_USIM, pin=None,
                 t0_style=False, seq=0, partial_select=True, report=lambda e: None):
        self.alg, self.aid, self.pin, self.t0, self.report = Milenage(k, opc), aid, pin, t0_style, report
        self.partial_select, self.tries, self.seq_ms = partial_select, 3, [seq] * INDS
        self.atr = bytes.fromhex("3B00") if t0_style else vpcd_card.CONTACTLESS_ATR
        entry = d.tlv(0x61, d.tlv(0x4F, aid) + d.tlv(0x50, b"USIM"))
        other = d.tlv(0x61, d.tlv(0x4F, bytes.fromhex("A0000000871004FFFFFFFF8907090000")) + d.tlv(0x50, b"ISIM"))
        self.mf = {"2F00": [other.ljust(0x26, b"\xff"), entry.ljust(0x26, b"\xff")],
                   "2FE2": swapped(iccid).ljust(10, b"\xff")}
        self.adf = {"6F07": ef_imsi(imsi)}
        self.used = self.over = False
        self.power(True)

    def power(self, on):
        if not on and self.used:
            self.over, self.used = True, False
        self.df, self.ef, self.ef_id, self.verified, self.waiting = self.mf, None, None, self.pin is None, b""

    def tap_over(self):
        over, self.over = self.over, False
        return over

    def apdu(self, raw):
        try:
            c = d.parse_capdu(raw)
            if c is None or len(raw) > 261:
                raise Refuse("6700")
            cla, ins, p1, p2, data, ne = c
            if cla & 0x03:
                raise Refuse("6881")
            if cla != 0x00:
                raise Refuse("6E00")
            if ins == 0xC0:
                return self._get_response(p1, p2, ne)
            self.waiting = b""
            handler = {0xA4: self._select, 0xB0: self._read_binary, 0xB2: self._read_record, 0x20: self._verify,
                       0x88: self._authenticate}.get(ins)
            if handler is None:
                raise Refuse("6D00")
            self.report({"event": "command", "ins": "%02x" % ins})
            r = handler(p1, p2, data, ne)
            if self.t0 and data and r:                        # case 4 over T=0
                self.waiting = r
                return bytes([0x61, len(r)])
            return r + b"\x90\x00"
        except Refuse as e:
            return bytes.fromhex(str(e))

    def _get_response(self, p1, p2, ne):
        if p1 or p2:
            raise Refuse("6A86")
        if not self.waiting:
            raise Refuse("6985")
        n = len(self.waiting)
        if ne > n and not (ne == 256 and not self.t0):
            return bytes([0x6C, n])
        r, self.waiting = self.waiting[:ne], self.waiting[ne:]
        return r + (bytes([0x61, len(self.waiting)]) if self.waiting else b"\x90\x00")

    def _wrong_le(self, ne, n):
        """6Cxx when the answer has another length than asked for (T=0: 00 asks for 256)."""
        if ne > n and (ne != 256 or self.t0):
            raise Refuse("6C%02X" % n)

    # files ----------------------------------------------------------------------------------
    def _select(self, p1, p2, data, ne):
        if p2 not in (0x00, 0x04, 0x0C) or p1 not in (0x00, 0x04, 0x08):
            raise Refuse("6A86")
        fid = data.hex().upper()
        if p1 == 0x04:
            if not (data == self.aid or (self.partial_select and len(data) >= 5 and self.aid.startswith(data))):
                raise Refuse("6A82")
            self.df, self.ef = self.adf, None
            self.report({"event": "selected", "aid": self.aid.hex()})
        elif p1 == 0x00 and fid in ("3F00", "7FFF"):
            self.df, self.ef = (self.mf if fid == "3F00" else self.adf), None
        else:
            df = self.df
            if p1 == 0x08:
                df = self.mf
                if fid[:4] == "7FFF":
                    df, fid = self.adf, fid[4:]
            if fid not in df:
                raise Refuse("6A82")
            self.df, self.ef, self.ef_id = df, df[fid], fid
        return b"" if p2 & 0x0C == 0x0C else self._fcp(fid)

    def _fcp(self, fid):
        if self.ef is None:
            body = d.tlv(0x82, b"\x78\x21") + (d.tlv(0x84, self.aid) if self.df is self.adf else d.tlv(0x83, b"\x3f\x00"))
        else:
            linear = isinstance(self.ef, list)
            size = sum(map(len, self.ef)) if linear else len(self.ef)
            body = d.tlv(0x82, b"\x42\x21" + len(self.ef[0]).to_bytes(2, "big") + bytes([len(self.ef)]) if linear
                         else b"\x41\x21") + d.tlv(0x83, bytes.fromhex(fid[-4:])) + d.tlv(0x80, size.to_bytes(2, "big"))
        return d.tlv(0x62, body + d.tlv(0x8A, b"\x05"))

    def _read_binary(self, p1, p2, data, ne):
        if data:
            raise Refuse("6700")
        if p1 & 0x80:
            fid = {0x07: "6F07", 0x02: "2FE2"}.get(p1 & 0x1F)
            if fid not in self.df:
                raise Refuse("6A82")
            self.ef, self.ef_id, p1 = self.df[fid], fid, 0
        if self.ef is None:
            raise Refuse("6986")
        if isinstance(self.ef, list):
            raise Refuse("6981")
        if self.df is self.adf and not self.verified:
            raise Refuse("6982")
        rest = self.ef[p1 << 8 | p2:]
        if not rest:
            raise Refuse("6B00")
        self._wrong_le(ne, len(rest))
        return rest[:ne]

    def _read_record(self, p1, p2, data, ne):
        if p2 != 0x04:
            raise Refuse("6A86")
        if not isinstance(self.ef, list):
            raise Refuse("6986" if self.ef is None else "6981")
        if not 1 <= p1 <= len(self.ef):
            raise Refuse("6A83")
        self._wrong_le(ne, len(self.ef[p1 - 1]))
        return self.ef[p1 - 1][:ne]

    # security ---------------------------------------------------------------------------------
    def _verify(self, p1, p2, data, ne):
        if (p1, p2) != (0x00, 0x01):
            raise Refuse("6A86")
        if self.pin is None:
            raise Refuse("6984")                               # PIN disabled
        if not data:
            raise Refuse("63C%X" % self.tries if self.tries else "6983")
        if len(data) != 8:
            raise Refuse("6700")
        if not self.tries:
            raise Refuse("6983")
        if data != self.pin.encode().ljust(8, b"\xff"):
            self.tries, self.verified = self.tries - 1, False
            self.report({"event": "wrong-pin", "tries": self.tries})
            raise Refuse("63C%X" % self.tries if self.tries else "6983")
        self.tries, self.verified = 3, True
        return b""

    def _authenticate(self, p1, p2, data, ne):
        if p1 or p2 != 0x81:
            raise Refuse("6A86" if p1 or p2 not in (0x80, 0x82, 0x84) else "9864")
        if len(data) != 0x22 or data[0] != 0x10 or data[17] != 0x10:
            raise Refuse("6700")
        if self.df is not self.adf:
            raise Refuse("6985")
        if not self.verified:
            raise Refuse("6982")
        self.used = True
        rand, autn = data[1:17], data[18:]
        sqn = aka.open_autn(self.alg, rand, autn)
        if sqn is None:
            self.report({"event": "wrong-mac"})
            raise Refuse("9862")
        value = int.from_bytes(sqn, "big")
        seq, ind, top = value >> 5, value & 31, max(self.seq_ms)
        if seq - top > aka.DELTA or seq <= self.seq_ms[ind]:
            self.report({"event": "sequence-failure", "seq": seq, "ind": ind, "seq_ms": top})
            sqn_ms = aka.sqn_of(top, self.seq_ms.index(top))
            return d.tlv(0xDC, aka.auts(self.alg, rand, sqn_ms))
        self.seq_ms[ind] = seq
        res, ck, ik, _ = self.alg.f2345(rand)
        self.report({"event": "authenticated", "seq": seq, "ind": ind})
        return b"\xdb" + bytes([len(res)]) + res + b"\x10" + ck + b"\x10" + ik


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--vpcd", required=True, metavar="HOST:PORT")
    p.add_argument("--k", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--opc", required=True, type=bytes.fromhex, metavar="HEX")
    p.add_argument("--imsi", default="001010123456789")
    p.add_argument("--iccid", default="8988211000000000012")
    p.add_argument("--pin")
    p.add_argument("--seq", type=int, default=0, help="SEQ_MS of every index to start with")
    p.add_argument("--t0-style", action="store_true", help="61xx and 6Cxx, as over T=0")
    p.add_argument("--no-partial-select", action="store_true")
    p.add_argument("--taps", type=int, default=0, metavar="N")
    a = p.parse_args()
    card = UsimCard(a.k, a.opc, a.imsi, a.iccid, pin=a.pin, t0_style=a.t0_style, seq=a.seq,
                    partial_select=not a.no_partial_select, report=print_event)
    try:
        vpcd_card.serve(card, a.vpcd, a.taps)
    except (ConnectionError, OSError) as e:
        print_event({"event": "error", "what": str(e)})
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
