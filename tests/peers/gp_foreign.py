#!/usr/bin/python3
"""Another host at the card manager: yubikit's SecurityDomainSession (PyPI's yubikey-manager), made for other chips than ours, through PC/SC.

Its SCP03 (level 33, S8), its GET DATA, PUT KEY and DELETE of keys are its own; of ours there is here only the way to the reader, and what the
commands it has no words for consist of. One JSON line a check; exit status 0 when all held.
"""
import argparse
import json
import os
import sys
import tomllib

import pcsc_lock
from yubikit.core import TRANSPORT, Tlv
from yubikit.core.smartcard import ApduError, SmartCardConnection
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, StaticKeys
from yubikit.securitydomain import SecurityDomainSession


class Connection(SmartCardConnection):
    """Bytes to the card in the reader and back, as they are: 61xx is followed by yubikit."""

    def __init__(self, card):
        self.card = card

    @property
    def transport(self):
        return TRANSPORT.NFC

    def send_and_receive(self, apdu):
        r = self.card.send(apdu)
        return r[:-2], int.from_bytes(r[-2:], "big")

    def close(self):
        pass


class Session(SecurityDomainSession):
    """YubiKeys leave the outer E0 and 66 of what GET DATA tells out; the standard does not (GlobalPlatform Card 11.3.3.1, H.2)."""

    def get_data(self, tag, data=b""):
        answer = super().get_data(tag, data)
        return Tlv.unpack(tag, answer) if tag in (0xE0, 0x66) else answer


class Checks:
    def __init__(self, card, kvn, keys):
        self.connection, self.kvn, self.keys, self.failed = Connection(card), kvn, keys, 0

    def note(self, name, ok, **more):
        self.failed += not ok
        print(json.dumps({"check": name, "ok": bool(ok), **more}), flush=True)

    def open(self, kvn=None, keys=None):
        session = Session(self.connection)
        session.authenticate(Scp03KeyParams(KeyRef(1, self.kvn if kvn is None else kvn), keys or self.keys))
        return session

    def refused(self, name, want, f, *a, **kw):
        try:
            f(*a, **kw)
            self.note(name, False, want=want)
        except ApduError as e:
            self.note(name, "%04X" % e.sw == want, sw="%04X" % e.sw, want=want)
        except ValueError as e:
            self.note(name, want == str(e), got=str(e), want=want)

    def run(self):
        session = Session(self.connection)
        sets = session.get_key_information()
        self.note("it reads the key information", KeyRef(1, self.kvn) in sets and sets[KeyRef(1, self.kvn)] == {0x88: 16})
        self.note("it reads the card recognition data", bytes.fromhex("2a864886fc6b") in session.get_card_recognition_data())
        session = self.open()
        self.note("it opens a secure channel, level 33", True)
        self.note("and reads the key information in it", session.get_key_information() == sets)
        status = session.protocol.send_apdu(0x80, 0xF2, 0x80, 0x02, b"\x4f\x00")
        self.note("GET STATUS in it", status[:1] == b"\xe3" and bytes.fromhex("a000000151000000") in status)
        self.refused("what the card refuses it reads too", "6A88", session.protocol.send_apdu, 0x80, 0xE4, 0, 0, b"\x4f\x08NOTHING!")
        session.get_card_recognition_data()
        self.note("and goes on", True)
        self.refused("wrong keys are seen by it", "Incorrect SCP parameters", self.open, keys=StaticKeys(*[bytes(16)] * 3))
        self.refused("a key set that is not there", "Incorrect SCP parameters", self.open, kvn=0x3E)

        new = StaticKeys(*(os.urandom(16) for _ in range(3)))
        session = self.open()
        session.put_key(KeyRef(1, 0x31), new)
        self.note("PUT KEY: a second key set", KeyRef(1, 0x31) in session.get_key_information())
        session = self.open(0x31, new)
        self.note("it opens a channel by that one", True)
        self.refused("the set in use is not deleted", "6985", session.delete_key, kvn=0x31)
        session = self.open()
        session.delete_key(kvn=0x31)
        self.note("DELETE of the second key set", session.get_key_information() == sets)
        session.put_key(KeyRef(1, self.kvn), new, replace_kvn=self.kvn)
        self.refused("PUT KEY in place of the first: the old keys are refused", "Incorrect SCP parameters", self.open)
        session = self.open(keys=new)
        session.put_key(KeyRef(1, self.kvn), self.keys, replace_kvn=self.kvn)
        self.open()
        self.note("and back", True)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--reader", required=True, metavar="FRAGMENT")
    p.add_argument("--config", required=True, metavar="FILE", help="phone.toml, for [chip]")
    p.add_argument("--time-out", type=float, default=15.0, metavar="S")
    a = p.parse_args()
    with open(a.config, "rb") as f:
        chip = tomllib.load(f)["chip"]
    keys = StaticKeys(*(bytes.fromhex(chip[name]) for name in ("enc", "mac", "dek")))
    with pcsc_lock.open_card(a.reader, a.time_out) as card:
        c = Checks(card, chip["kvn"], keys)
        try:
            c.run()
        except Exception as e:  # whatever it does not understand is a finding
            c.note("it understands the card", False, problem="%s: %s" % (type(e).__name__, e))
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())
