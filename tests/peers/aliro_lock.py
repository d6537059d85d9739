#!/usr/bin/python3
"""A reader of Aliro 1.0 as a lock: at a PC/SC reader, or as the vpcd that a user device connects to.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. `bugs` are faults of understanding, by which
aliro_pair.py shows that each case of the checklist can fail.
"""
import argparse
import json
import os
import sys

import aliro_crypto as a
import aliro_faults
import aliro_reader as ar
import pcsc_lock
import vpcd_reader

UNSECURED = 0x0101
NO_COMMON_VERSION = 0x27


class Lock:
    """`issuer`: the public key of the certificate's issuer. `credentials`: the public keys that open. `place` of the certificate:
    load-cert or auth1. `refused`: {credential: Reader Status}. `exchanges`: plaintexts of EXCHANGE before the last one. `cache`:
    [(credential, Kpersistent)], kept."""

    def __init__(self, key, identifier, credentials, issuer=None, certificate=None, place="load-cert", fast=True, want_key=True,
                 exchanges=(), size=16, ap=b"\1", extension=None, status=UNSECURED, bugs=(), rng=os.urandom):
        self.key, self.identifier, self.credentials, self.issuer = key, identifier, list(credentials), issuer
        self.certificate, self.place, self.want_fast, self.want_key = certificate, place, fast, want_key
        self.bugs, self.rng, self.cache = frozenset(bugs), rng, []
        self.exchanges, self.size = [] if "no-exchanges" in bugs else list(exchanges), 8 if "cache-of-8" in bugs else size
        self.ap, self.extension, self.refused = ap, None if "no-extension" in bugs else extension, {}
        self.status = UNSECURED if "always-unsecured" in bugs else status
        self.want_key |= "always-public-key" in bugs
        self.torn = self.full = self.stuck = False

    def tap(self, transmit):
        reader = aliro_faults.FaultyReader(transmit, self.key, self.identifier, self.issuer, self.certificate, self.ap, rng=self.rng)
        reader.bugs = self.bugs
        if "repeats-transaction" in self.bugs:
            reader.rng = bytes
        if "repeats-ephemeral" in self.bugs:
            reader.ephemeral = lambda: self.key
        try:
            if self.torn and "hangs-up-for-good" in self.bugs:
                raise ConnectionError("never again")
            credential = self._authenticate(reader)
            for plain in self.exchanges:
                self._exchange(reader, plain)
            if "no-status" not in self.bugs:
                self._say_open(reader)
            if self.stuck and "ignores-its-door" not in self.bugs:
                reader.status(0x0026)
            return {"event": "tap", "verdict": "open", "reason": None, "credential": credential.hex()}
        except (ConnectionError, OSError, pcsc_lock.NoCard) as e:
            self.torn = True
            return {"event": "tap", "verdict": "open" if "opens-anyway-when-torn" in self.bugs else "error", "reason": "torn",
                    "detail": str(e)}
        except (ar.Wrong, ar.Status, ValueError) as e:
            return self._close(reader, e)

    def _say_open(self, reader):
        try:
            reader.status(self.status)
        except (ar.Wrong, ar.Status, ConnectionError):
            if "opens-unproved" not in self.bugs:
                raise

    def _authenticate(self, reader):
        reader.select()
        if a.VERSION not in reader.versions and "any-version" not in self.bugs:
            raise ar.Wrong("no common version", None if "plain-control-flow" in self.bugs else NO_COMMON_VERSION)
        fast = self.want_fast and self.cache
        data = reader.command(a.AUTH0, a.encode(reader.auth0_items(a.FAST if fast else a.STANDARD, extension=self.extension)))
        self._odd(data, (0x86, 0x9D, 0xB2))
        if "takes-88" in self.bugs:
            data = a.encode((0x86 if tag == 0x88 else tag, value) for tag, value in a.decode(data))
        sealed = reader.auth0_answer(data)
        if fast and "never-fast" not in self.bugs:
            credential = reader.fast(sealed, self.cache)
            if credential is not None:
                self._entitled(credential, "remembered-opens" in self.bugs)
                return credential
        if self.certificate and self.place == "load-cert":
            reader.load_cert(part=None if "never-chains" not in self.bugs else 4096, extended=self._extended(reader, self.certificate))
        return self._prove(reader)

    def _prove(self, reader):
        certificate = self.certificate if self.place == "auth1" and "no-certificate" not in self.bugs else None
        data = a.encode(reader.auth1_items(self.want_key, certificate))
        reader.want_key = self.want_key
        slots = {a.key_slot(c): c for c in self.credentials}
        sealed = reader.command(a.AUTH1, data, extended=self._extended(reader, data))
        try:
            reader.auth1_answer(sealed, slots.get)
            self._odd(reader.plain, (0x4E, 0x5A, 0x9E, 0x4B, 0x5E, 0x91, 0x92))
            credential = reader.credential
        except ar.Wrong:
            if "any-proof" not in self.bugs or reader.channel is None:
                if "remembers-refused" in self.bugs and reader.channel:
                    self._remember(self.credentials[0], reader.t.persistent(reader.secret, self.credentials[0]))
                raise
            credential = self.credentials[0]
        self._entitled(credential)
        self._remember(credential, reader.t.persistent(reader.secret, credential))
        return credential

    def _exchange(self, reader, plain):
        """Whatever is wrong with the answer, the channel is not used again."""
        try:
            asked = [v for tag, v in a.decode(dict(a.decode(plain))[0xBA]) if tag == 0x87]
            read = ar.results(reader.exchange(plain))
            whole = read is not None and [len(r) for r in read] == [int.from_bytes(v[2:], "big") for v in asked]
            if whole or (read is not None and "any-exchange" in self.bugs):
                return
        except ar.Wrong as e:
            raise ar.Wrong(str(e), None) from None
        raise ar.Wrong("the device refused %s" % plain.hex(), None)

    def _entitled(self, credential, anyway=False):
        if "any-credential" in self.bugs or anyway:
            return
        if credential not in self.credentials:
            raise ar.Wrong("unknown", 0x0001)
        if credential in self.refused:
            raise ar.Wrong("not entitled", self.refused[credential])

    def _remember(self, credential, kpersistent):
        if self.full and "ignores-its-disk" not in self.bugs:
            raise ar.Wrong("cannot be stored", 0x0026)
        self.cache = ([e for e in self.cache if e[0] != credential] + [(credential, kpersistent)])[-self.size:]

    def _odd(self, data, known):
        if "strict-tags" in self.bugs and any(tag not in known for tag, _ in a.decode(data)):
            raise ar.Wrong("unknown tag")

    def _extended(self, reader, data):
        return "never-chains" in self.bugs or bool(reader.lengths and len(data) > 255 and len(data) + 9 <= reader.lengths[0])

    def _close(self, reader, e):
        """How a reader ends when something went wrong."""
        event = {"event": "tap", "verdict": "refused", "reason": type(e).__name__.lower(), "detail": str(e)}
        if "opens-anyway" in self.bugs:
            event["verdict"] = "open"
        code = getattr(e, "code", None)
        try:
            if "leaves-silently" in self.bugs:
                pass
            elif reader.channel and code:
                reader.status(UNSECURED if "always-unsecured" in self.bugs else code)
            else:
                reader.control_flow(0, NO_COMMON_VERSION if code == NO_COMMON_VERSION else 0)
        except (ar.Wrong, ar.Status, ConnectionError, OSError, pcsc_lock.NoCard) as more:
            event["detail"] += "; " + str(more)
        return event


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--reader", metavar="FRAGMENT")
    where.add_argument("--listen", metavar="HOST:PORT", help="be the vpcd that a card connects to")
    p.add_argument("--key", required=True, type=bytes.fromhex, metavar="HEX", help="the reader's private key")
    p.add_argument("--identifier", required=True, type=bytes.fromhex, metavar="HEX", help="reader identifier, 32 bytes")
    p.add_argument("--credential", required=True, action="append", type=bytes.fromhex, metavar="HEX", help="a public key that opens")
    p.add_argument("--certificate", type=bytes.fromhex, metavar="HEX")
    p.add_argument("--issuer", type=bytes.fromhex, metavar="HEX", help="its issuer's public key")
    p.add_argument("--in-auth1", action="store_true", help="the certificate goes into AUTH1")
    p.add_argument("--key-slot", action="store_true", help="ask for the key slot")
    p.add_argument("--taps", type=int, default=1, metavar="N", help="in one connection: the second may be fast")
    p.add_argument("--time-out", type=float, default=15.0, metavar="S")
    o = p.parse_args()
    lock = Lock(a.private(o.key), o.identifier, o.credential, o.issuer, o.certificate, "auth1" if o.in_auth1 else "load-cert",
                want_key=not o.key_slot)
    status = 0
    try:
        with pcsc_lock.open_card(o.reader, o.time_out) if o.reader else vpcd_reader.Listener(o.listen).card(o.time_out) as card:
            for _ in range(o.taps):
                event = lock.tap(card.send)
                print(json.dumps(event), flush=True)
                status |= event["verdict"] != "open"
    except (pcsc_lock.NoCard, OSError) as e:
        print(json.dumps({"event": "tap", "verdict": "error", "reason": "timeout", "detail": str(e)}), flush=True)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
