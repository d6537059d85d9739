#!/usr/bin/python3
"""A user device of Aliro 1.0 over vpcd, honest by default, that can be told to misbehave at any step.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. `script` changes what it says: select(bytes),
auth0(items), auth1(items), exchange(plaintext) take what an honest device says and return what this one does; sealed(bytes) and
exchange_sealed(bytes) the same behind the encryption; answer(name, command, honest) takes the place of everything: it calls honest()
or not, and returns an R-APDU, or raises ConnectionError to leave the field. `bugs` are faults of understanding, by which aliro_pair.py
shows that each case of the checklist can fail. `seen` is what the reader did, decrypted.
"""
import argparse
import json
import os
import sys

import aliro_certificate as cert
import aliro_crypto as a
import aliro_mailbox
import door_crypto as d
import vpcd_card

IDLE, SELECTED, KNOWN, PROVED = range(4)     # nothing; SELECT done; AUTH0 done; AUTH1 done


class Refuse(Exception):
    """A status word. It ends the session."""


class Device:
    atr = vpcd_card.CONTACTLESS_ATR

    def __init__(self, groups, mailbox=512, readable=True, writable=True, versions=(a.VERSION,), vendor=b"", lengths=None,
                 extension=b"", bits=0, longest=256, counters=0xFFFF, ephemeral=a.fresh, rng=os.urandom, kpersistent=None, script=None,
                 bugs=()):
        """`groups`: {group identifier: (the key that the device knows for it, credential private key)}. `vendor`: B3,
        `lengths`: (longest command APDU, longest response APDU) for 7F66; without them an answer has at most `longest` bytes of data.
        `extension`: B2, `bits`: signalling bits besides the mailbox's. `kpersistent`: {(reader identifier, credential public key): key},
        kept between taps. A session ends when the reader's counter reaches `counters`."""
        self.counters = counters
        self.issued = self.revoked = None                 # timestamps of documents, 20 bytes
        self.groups, self.versions = dict(groups), list(versions)
        self.vendor, self.lengths = b"" if "no-descriptor" in bugs else vendor, None if "no-lengths" in bugs else lengths
        self.extension = b"" if "no-extension" in bugs else extension
        self.mailbox = aliro_mailbox.Mailbox(mailbox, readable, writable, bugs, bits)
        self.longest, self.ephemeral, self.rng = longest, ephemeral, rng
        self.kpersistent = {} if kpersistent is None else kpersistent
        self.script, self.bugs = script or {}, frozenset(bugs)
        self.seen, self.log, self.report = [], [], lambda event: None
        self.touched = self.over = self.gone = False      # gone: it left by itself
        self.stays = False                                # until it is taken away, also when all is said
        self.chain, self.pending = None, b""
        self._end()

    # the card object of vpcd_card ----------------------------------------------------------------------------------------
    def power(self, on):
        if not on and self.touched:
            self.over = True
        self.chain, self.pending = None, b""
        if "mailbox-forgets" in self.bugs:
            self.mailbox.content[:] = bytes(len(self.mailbox.content))
        if "power-keeps-keys" not in self.bugs:
            self._end()

    def tap_over(self):
        over = self.over and not self.stays
        if over:
            self.over = self.touched = False
        return over

    def apdu(self, raw):
        name = a.NAMES.get(raw[1]) if len(raw) > 1 and raw[0] != 0xFF else None
        answer = self.script.get("answer")
        try:
            r = answer(name, raw, lambda: self._answer(raw)) if answer and name else self._answer(raw)
        except ConnectionError:
            self.gone = True
            raise
        if raw[:1] != b"\xff":
            self.log.append((raw, r))
            self.report({"event": "apdu", "c": raw.hex(), "r": r.hex()})
        return r

    def names(self):
        """What the reader sent, chained commands and their GET RESPONSE counted once each."""
        out = [(a.NAMES.get(c[1], "%02X" % c[1]), c[0]) for c, _ in self.log if len(c) > 3]
        return [name for name, cla in out if name != "GET RESPONSE" and not cla & 0x10]

    def forget_tap(self):
        self.seen, self.log, self.over, self.touched = [], [], False, False

    # commands ----------------------------------------------------------------------------------------------------------
    def _end(self):
        self.state, self.t, self.channel, self.own, self.reader_key = IDLE, None, None, None, None
        if "atomic-survives" not in self.bugs:
            self.mailbox.drop()

    def _script(self, step, value):
        return self.script[step](value) if step in self.script else value

    def _answer(self, raw):
        try:
            if raw[:1] == b"\xff":
                return b"\x6e\0"
            return self._command(raw)
        except Refuse as e:
            self.chain, self.pending = None, b""
            if "keys-survive-errors" not in self.bugs:
                self._end()
            self.report({"event": "refused", "ins": raw[1:2].hex(), "sw": str(e)})
            if "tells-strangers" in self.bugs and raw[1:2] == b"\x81":
                return next(iter(self.groups.values()))[0] + bytes.fromhex(str(e))
            return b"\x90\0" if "swallows-errors" in self.bugs or ("no-states" in self.bugs and str(e) == "6D00") else bytes.fromhex(str(e))

    def _command(self, raw):
        if "falls-over" in self.bugs and (len(raw) < 4 or (raw[1] == a.EXCHANGE and self.mailbox.content[8:11] == b"\1\2\3")):
            raise ConnectionError("fell over")
        parsed = d.parse_capdu(raw)
        if parsed is None:
            raise Refuse("6700")
        cla, ins, p1, p2, data, ne = parsed
        if (ins, cla & 0xEF) == (a.GET_RESPONSE, 0x00) or (ins, cla) == (a.GET_RESPONSE, 0x80) and "get-response-00-only" not in self.bugs:
            if not self.pending:
                raise Refuse("6D00")
            return self._cut(self.pending, ne)
        if "keeps-pending" not in self.bugs:
            self.pending = b""
        if ins == a.CONTROL_FLOW and cla == 0x80:
            return self._control_flow(data)
        if ins == a.SELECT and cla == 0x00:
            if self.chain and "chains-swallow-select" in self.bugs:
                raise Refuse("6883")
            self.chain = None
            return self._cut(self._select(p1, p2, data), ne)
        if ins == 0xCA and (p1, p2) == (0x7F, 0x68):
            return b"\x6a\x88"
        if ins not in (a.AUTH0, a.AUTH1, a.LOAD_CERT, a.EXCHANGE):
            raise Refuse("6D00")
        if cla not in (0x80, 0x90):
            raise Refuse("6800")
        if (p1, p2) != (0, 0) and "any-p1p2" not in self.bugs:
            raise Refuse("6A86")
        if self.chain and self.chain[0] != ins and "chains-of-anything" not in self.bugs:
            raise Refuse("6883")
        if "no-chaining" in self.bugs and cla == 0x90:
            raise Refuse("6884")
        data, self.chain = (self.chain[1] if self.chain else b"") + data, None
        if cla == 0x90:
            if len(data) > 4096 and "endless-chains" not in self.bugs:
                raise Refuse("6700")
            self.chain = (ins, data)
            return b"\x90\0"
        honest = {a.AUTH0: self._auth0, a.AUTH1: self._auth1, a.LOAD_CERT: self._load_cert, a.EXCHANGE: self._exchange}[ins]
        try:
            return self._cut(honest(data), ne)
        except ValueError as e:          # whatever does not parse
            raise Refuse("6701") from e

    def _cut(self, answer, ne):
        most = ne or 256
        if "ignores-le" in self.bugs:
            most = 256
        if self.lengths:
            most = min(most, self.lengths[1] - 2) if "too-long-answers" not in self.bugs else most
        else:
            most = min(most, self.longest)
        now, self.pending = answer[:most], answer[most:]
        return now + (bytes([0x61, len(self.pending) if len(self.pending) < 256 else 0]) if self.pending else b"\x90\0")

    def _select(self, p1, p2, data):
        if (p1, p2) != (4, 0):
            raise Refuse("6A86")
        if data != a.AID:
            raise Refuse("6A82")
        channel = self.channel if "select-keeps-keys" in self.bugs else None
        self._end()
        self.touched, self.channel = True, channel
        inside = [(0x80, b"\0\0"), (0x5C, b"".join(self.versions))]
        if self.lengths:
            inside.append((0x7F66, a.encode((2, n.to_bytes(2, "big")) for n in self.lengths)))
        if self.vendor:
            inside.append((0xB3, self.vendor))
        self.a5 = a.tlv(0xA5, a.encode(inside))
        answer = self._script("select", a.tlv(0x6F, a.tlv(0x84, a.AID) + self.a5))
        if "select" in self.script:
            self.a5 = _a5(answer)
        self.state = SELECTED
        self.seen.append(("SELECT", {}))
        return answer

    def _auth0(self, data):
        if self.state != SELECTED:
            raise Refuse("6D00")
        items = a.decode(data)
        if "strict-tags" in self.bugs and len(items) > 6:
            raise Refuse("6701")
        known = [tag for tag, _ in items if tag in (0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D, 0xB1)]
        got = dict(items)
        if "takes-88-for-87" in self.bugs and 0x88 in got:
            got[0x87] = got[0x88]
        elif "takes-any-order" in self.bugs and sorted(known) == [0x41, 0x42, 0x4C, 0x4D, 0x5C, 0x87] or "takes-repeated" in self.bugs:
            pass
        elif known not in ([0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D], [0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D, 0xB1]):
            raise Refuse("6701")
        if [len(got[tag]) for tag in (0x41, 0x42, 0x5C, 0x4C, 0x4D)] != [1, 1, 2, 16, 32] or len(got.get(0xB1, b"")) > 127:
            raise Refuse("6701")
        if got[0x41] not in (a.STANDARD, a.FAST) or not 1 <= got[0x42][0] <= 3:
            raise Refuse("6701")
        if got[0x5C] not in self.versions and "any-version" not in self.bugs:
            raise Refuse("6985")
        if "any-point" not in self.bugs:
            a.point(got[0x87])
        if "refuses-strangers-in-auth0" in self.bugs and got[0x4D][:16] not in self.groups:
            raise Refuse("6701")
        if self.own_again() is None:
            self.own = self.ephemeral()
        self.last_own = self.own
        group = self._group(got[0x4D])
        self.t = a.Transcript(group[0] if group else bytes(65), got[0x4D], self.a5, got[0x5C], got[0x41], got[0x42], got[0x4C], got[0x87],
                              a.public(self.own), a.tlv(0xB1, got[0xB1]) if 0xB1 in got else b"")
        self.t.b2 = a.tlv(0xB2, self.extension) if self.extension and "b2-not-in-info" not in self.bugs else b""
        self.certificate, self.state = None, KNOWN
        self.seen.append(("AUTH0", got))
        answer = [(0x86, self.t.device_ephemeral)]
        if got[0x41] == a.FAST:
            answer.append((0x9D, self._cryptogram(group)))
        if self.extension:
            answer.append((0xB2, self.extension))
        return a.encode(self._script("auth0", answer))

    def own_again(self):
        """A device that repeats its ephemeral key."""
        self.own = getattr(self, "last_own", None) if "repeats-ephemeral" in self.bugs else None
        return self.own

    def _group(self, reader):
        if "one-group-only" in self.bugs:
            return self.groups.get(reader[:16]) and next(iter(self.groups.values()))
        return self.groups.get(reader[:16])

    def _cryptogram(self, group):
        credential = a.public(group[1]) if group else None
        reader = self.t.reader[:16] if "kpersistent-by-group" in self.bugs else self.t.reader
        kpersistent = self.kpersistent.get((reader, credential))
        if kpersistent is None:
            return b"\x5a" * 64 if "fixed-cryptogram" in self.bugs else self.rng(64)
        key, sk_reader, sk_device, _, _ = self.t.fast(kpersistent, credential)
        self.channel = a.Channel(sk_reader, sk_device, False)
        return self._script("cryptogram", a.cryptogram(key, self.mailbox.bitmap(), self.issued or bytes(20), self.revoked or bytes(20)))

    def _load_cert(self, data):
        if self.state != KNOWN:
            raise Refuse("6D00")
        if "no-load-cert" in self.bugs:
            raise Refuse("6D00")
        if "opens-certificates-late" not in self.bugs:
            try:
                cert.unpack(data)
            except ValueError:
                raise Refuse("6A80") from None
            group = self._group(self.t.reader)
            if "checks-certificates-early" in self.bugs and group and cert.subject_key(data, group[0]) is None:
                raise Refuse("6982")
        self.certificate = data
        self.seen.append(("LOAD CERT", {"certificate": data}))
        return b""

    def _auth1(self, data):
        if self.state != KNOWN:
            raise Refuse("6D00")
        items = a.decode(data)
        if "strict-tags" in self.bugs and any(tag not in (0x41, 0x9E, 0x90) for tag, _ in items):
            raise Refuse("6701")
        got = dict(items) if "takes-repeated" in self.bugs else a.unique(items, (0x41, 0x9E, 0x90))
        if len(got.get(0x41, b"")) != 1 or (len(got.get(0x9E, b"")) != 64 and "cuts-signatures" not in self.bugs):
            raise Refuse("6701")
        if 0x90 in got and "no-cert-in-auth1" in self.bugs:
            raise Refuse("6701")
        group = self._group(self.t.reader)
        if group is None:
            raise Refuse("6400")
        certificate, key = got.get(0x90, self.certificate), group[0]
        if certificate is not None:
            try:
                key = cert.subject_key(certificate, group[0])
            except ValueError:
                raise Refuse("6400") from None
            if "unsigned-certificates" in self.bugs:
                key = cert.unpack(certificate)[cert.KEY][1:]
            if key is None:
                raise Refuse("6982")
        if "remembers-refused" in self.bugs:
            self.kpersistent[(self.t.reader, a.public(group[1]))] = self.t.persistent(
                a.kdh(self.own, self.t.reader_ephemeral, self.t.transaction), a.public(group[1]))
        if not a.verify(key, got[0x9E][:64], self.t.signed(a.READER_SIGNS)) and "any-signature" not in self.bugs:
            raise Refuse("6982")
        self.seen.append(("AUTH1", got))
        salted = self.t
        if "salts-with-subject-key" in self.bugs and certificate is not None:
            salted = a.Transcript(**{**self.t.__dict__, "group_key": key})
        secret, credential = a.kdh(self.own, self.t.reader_ephemeral, self.t.transaction), a.public(group[1])
        if "no-kdh" in self.bugs:
            secret = secret[::-1]
        sk_reader, sk_device, self.step_up, _, _ = salted.volatile(secret)
        counters = (1, 2) if self.channel and "counters-go-on" in self.bugs else ()
        self.channel, self.state = a.Channel(sk_reader, sk_device, False, *counters), PROVED
        if "forgets-kpersistent" not in self.bugs:
            self.kpersistent[(self.t.reader, credential)] = salted.persistent(secret, credential)
        if "cache-of-8" in self.bugs:
            for oldest in list(self.kpersistent)[:-8]:
                del self.kpersistent[oldest]
        who = (0x5A, credential) if got[0x41][0] & 1 or "always-public-key" in self.bugs else (0x4E, a.key_slot(credential))
        signature = a.sign(group[1], self.t.signed(a.DEVICE_SIGNS))
        answer = self._script("auth1", [who, (0x9E, signature), (0x5E, self.mailbox.bitmap()), *self._documents()])
        return self._script("sealed", self.channel.seal(a.encode(answer)))

    def _documents(self):
        return [(tag, value) for tag, value in ((0x91, self.issued), (0x92, self.revoked)) if value]

    def _exchange(self, data):
        if self.channel is None or (self.channel.counter_in >= self.counters and "counter-runs-on" not in self.bugs):
            raise Refuse("6D00")
        plain = self.channel.open(data)
        for n in range(4) if plain is None and "any-counter" in self.bugs else ():
            self.channel.counter_in = n
            plain = plain or self.channel.open(data)
        if "one-status-only" in self.bugs and self.over:
            raise Refuse("6D00")
        if plain is None:
            raise Refuse("6982")
        try:
            got, answer = self.mailbox.exchange(plain)
            self.seen.append(("EXCHANGE", got))
            self.over |= self.touched and 0x97 in got
        except aliro_mailbox.Malformed as e:
            if "exchange-error-as-status" in self.bugs:
                raise Refuse("6701") from None
            self.seen.append(("EXCHANGE", {"error": str(e)}))
            answer = bytes.fromhex("0002FFFF")
        return self._script("exchange_sealed", self.channel.seal(self._script("exchange", answer)))

    def _control_flow(self, data):
        if "control-flow-needs-session" in self.bugs and self.state == IDLE:
            raise Refuse("6D00")
        try:
            self.seen.append(("CONTROL FLOW", dict(a.decode(data))))
        except ValueError:
            self.seen.append(("CONTROL FLOW", {}))
        if "chains-swallow-select" in self.bugs and self.chain:
            return b"\x90\0"
        self.chain = None
        self._end()
        self.over = self.touched
        return b"\x90\0"


def _a5(answer):
    """What a reader takes into its salts, as far as it can be found."""
    try:
        return a.tlv(0xA5, dict(a.decode(a.decode(answer)[0][1]))[0xA5])
    except (ValueError, IndexError, KeyError):
        return b""


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--vpcd", required=True, metavar="HOST:PORT")
    p.add_argument("--group", required=True, action="append", nargs=2, type=bytes.fromhex, metavar=("ID", "KEY"),
                   help="group identifier (16 bytes) and the public key of the reader, or of its issuer (65 bytes)")
    p.add_argument("--credential", type=bytes.fromhex, metavar="HEX", help="private key; without it a new one, whose public key is shown")
    p.add_argument("--mailbox", type=int, default=512, metavar="BYTES")
    p.add_argument("--taps", type=int, default=0, metavar="N", help="stop after N taps (0: never)")
    o = p.parse_args()
    credential = a.private(o.credential) if o.credential else a.fresh()
    device = Device({group: (key, credential) for group, key in o.group}, o.mailbox)
    device.report = lambda event: print(json.dumps(event), flush=True)
    device.report({"event": "ready", "credential": a.public(credential).hex()})
    try:
        vpcd_card.serve(device, o.vpcd, o.taps)
    except (ConnectionError, OSError) as e:
        device.report({"event": "error", "what": str(e)})
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
