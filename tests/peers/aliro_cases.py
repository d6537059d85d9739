"""What the cases of the Aliro checklist share: the table, a site with all its keys, small judgements.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. NFC_UD_... and NFC_RDR_... are the cases of the
certification tool by their names; UD_... and RDR_... are more of the same kind. A case takes a context (PhoneUnderTest of
aliro_ud.py, LockUnderTest of aliro_rdr.py) and raises Failed, or one of the counterparts' own errors. `bugs` of a case name faults of
the counterpart under which it must fail: aliro_pair.py tries each.
"""
import hashlib
from dataclasses import dataclass

import aliro_certificate as cert
import aliro_crypto as a
import aliro_reader as ar

ERRORS = (ar.Status, ar.Wrong)


class Failed(Exception):
    pass


@dataclass
class Case:
    name: str
    profile: str          # which configuration of the device under test it needs
    run: object
    bugs: tuple


def table():
    """A list of cases, and the decorator that adds to it."""
    cases = []

    def case(name, profile="plain", bugs=()):
        def add(run):
            cases.append(Case(name, profile, run, tuple(bugs.split()) if isinstance(bugs, str) else tuple(bugs)))
            return run
        return add
    return cases, case


def must(what, condition):
    if not condition:
        raise Failed(what)


def same(what, got, want):
    if got != want:
        show = [v.hex() if isinstance(v, (bytes, bytearray)) else repr(v) for v in (got, want)]
        raise Failed("%s: got %s, not %s" % (what, *show))


def refused(step, *args, **kw):
    """The status word by which the step is refused."""
    try:
        step(*args, **kw)
    except ar.Status as e:
        return e.sw
    raise Failed("%s was answered 9000" % getattr(step, "__name__", step))


def flip(data, at=-1):
    data = bytearray(data)
    data[at] ^= 1
    return bytes(data)


def replaced(tag, new):
    """An edit: that tag becomes `new`, a (tag, value) or raw bytes, or a list of them."""
    new = new if isinstance(new, list) else [new]
    return lambda items: [n for i in items for n in (new if not isinstance(i, bytes) and i[0] == tag else [i])]


class Site:
    """16 reader groups with keys of their own, one more whose readers have certificates, and one credential for all of them; a last
    group with another credential. Made from a word, so that it is the same in every run."""

    def __init__(self, word=b"tapdoor test site"):
        self.word = word
        self.groups = [(self.number("group %d" % n, 16), self.key("reader %d" % n)) for n in range(16)]
        self.sub = self.number("sub", 16)
        self.certified = self.number("certified group", 16)
        self.issuer, self.certified_key = self.key("issuer"), self.key("certified reader")
        self.credential, self.stranger = self.key("credential"), self.key("stranger")
        self.other, self.second = (self.number("other group", 16), self.key("other reader")), self.key("second credential")
        self.short = cert.issue(self.issuer, a.public(self.certified_key))
        self.long = cert.issue_with(self.issuer, a.public(self.certified_key), cert.LONG)

    def number(self, name, n):
        return hashlib.sha256(self.word + name.encode("ascii")).digest()[:n]

    def key(self, name):
        return a.private(self.number(name, 32))

    def device_groups(self):
        """What a user device of this site knows: {group identifier: (public key, credential)}."""
        known = {group: (a.public(key), self.credential) for group, key in self.groups}
        return {**known, self.certified: (a.public(self.issuer), self.credential), self.other[0]: (a.public(self.other[1]), self.second)}


SITE = Site()


# Points that are none: off the curve, infinity in three spellings, x beyond the field, compressed, cut off.
def bad_points():
    good = a.public(a.private(bytes(31) + b"\7"))
    return {"off the curve": flip(good), "all zero": bytes(65), "infinity as 04 00..": b"\4" + bytes(64),
            "x too large": b"\4" + b"\xff" * 64,
            "compressed": bytes([2 + (good[-1] & 1)]) + good[1:33], "of 64 bytes": good[:-1], "of 66 bytes": good + b"\0", "empty": b"",
            "hybrid 06": bytes([6 + (good[-1] & 1)]) + good[1:]}


def bad_signatures(good):
    order = a.ORDER.to_bytes(32, "big")
    return {"zeros": bytes(64), "r is zero": bytes(32) + good[32:], "s is zero": good[:32] + bytes(32), "r is the order": order + good[32:],
            "s is the order": good[:32] + order, "all ones": b"\xff" * 64, "r flipped": flip(good, 0), "s flipped": flip(good, -1)}
