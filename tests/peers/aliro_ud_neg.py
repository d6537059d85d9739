"""The checklist for a user device, second part: the certification tool's negative cases.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import aliro_crypto as a
import aliro_reader as ar
from aliro_cases import flip, must, refused, same, table
from aliro_ud import opened, told

CASES, case = table()


# AUTH0 -------------------------------------------------------------------------------------------------------------------------
@case("NFC_UD_NEG_AUTH0_DIFFERENT_CRYPTOGRAM_CONSECUTIVE_FAST", bugs="repeats-ephemeral fixed-cryptogram")
def _(c):
    known = c.standard(c.reader()).kpersistent
    for sub in (None, b"\x3C" * 16):          # a reader that is remembered, and one that is not
        seen = []
        numbers = iter([bytes(16)] * 2)
        for _ in range(2):
            r = c.reader(sub=sub, rng=lambda n: next(numbers))
            r.select()
            sealed = r.auth0(a.FAST)
            must("remembered or not", (r.fast(sealed, [(c.credential(), known)]) is None) == (sub is not None))
            seen.append((sealed, r.t.device_ephemeral))
        must("another cryptogram", seen[0][0] != seen[1][0])
        must("another ephemeral key", seen[0][1] != seen[1][1])


UNKNOWN = (0xCF, b"\1\2\3")


@case("NFC_UD_NEG_AUTH0_EXTRA_TAG", bugs="strict-tags")
def _(c):
    c.standard(c.reader(), edit=lambda items: items + [UNKNOWN])


@case("NFC_UD_NEG_AUTH1_EXTRA_TAG", bugs="strict-tags")
def _(c):
    r = c.reader()
    r.select()
    r.auth0()
    same("credential key", r.auth1(edit=lambda items: items + [UNKNOWN])[0x5A], c.credential())
    r.status(0x0101)


@case("NFC_UD_NEG_EXCHANGE_WITH_EXTRA_TAG", bugs="strict-tags")
def _(c):
    r = opened(c)
    told(r, ar.fill(0, 2, 0x66))
    extra = a.tlv(0x99, b"\1\2")
    same("executed in front of it", ar.results(r.exchange(ar.mailbox(ar.read(0, 2)) + extra)), [b"\x66\x66"])
    same("executed behind it", ar.results(r.exchange(extra + ar.mailbox(ar.read(0, 2)) + a.tlv(0x97, b"\1\1"))), [b"\x66\x66"])


@case("NFC_UD_NEG_AUTH0_UNKNOWN_READER_ID", bugs="refuses-strangers-in-auth0 swallows-errors")
def _(c):
    for cp in (a.STANDARD, a.FAST):
        r = c.stranger()
        r.select()
        r.auth0(cp)
        refused(r.auth1)
        r.control_flow()


@case("NFC_UD_NEG_AUTH0_UNSUPPORTED_PROTOCOL_VERSION", bugs="any-version")
def _(c):
    for version in (b"\x0A\0", b"\0\0", b"\xff\xff"):
        r = c.reader()
        r.select()
        refused(r.auth0, version=version)
        r.control_flow()


@case("NFC_UD_NEG_AUTH0_WRONG_P1P2", bugs="any-p1p2")
def _(c):
    for p1p2 in ((1, 2), (0, 1), (1, 0)):
        r = c.reader()
        r.select()
        refused(r.auth0, p1p2=p1p2)
        r.control_flow()


@case("NFC_UD_NEG_AUTH0_WRONG_VALUE", bugs="takes-88-for-87")
def _(c):
    r = c.reader()
    r.select()
    refused(r.auth0, edit=lambda items: [(0x88 if tag == 0x87 else tag, value) for tag, value in items])
    r.control_flow()


# AUTH1 -------------------------------------------------------------------------------------------------------------------------
@case("NFC_UD_NEG_AUTH1_WRONG_P1P2", bugs="any-p1p2")
def _(c):
    for p1p2 in ((1, 2), (0, 1), (1, 0)):
        r = c.reader()
        r.select()
        r.auth0()
        refused(r.auth1, p1p2=p1p2)
        r.control_flow()


@case("NFC_UD_NEG_AUTH1_WRONG_VALUES", bugs="cuts-signatures")
def _(c):
    r = c.reader()
    r.select()
    r.auth0()
    refused(r.auth1, edit=lambda items: [(tag, value + b"\0" if tag == 0x9E else value) for tag, value in items])
    r.control_flow()


@case("NFC_UD_NEG_AUTH1_WRONG_READER_SIGNATURE", bugs="any-signature")
def _(c):
    r = c.reader()
    r.select()
    r.auth0()
    right, r.t.reader = r.t.reader, flip(r.t.reader)
    signature = a.sign(r.key, r.t.signed(a.READER_SIGNS))
    r.t.reader = right
    refused(r.auth1, signature=signature)
    r.control_flow()


# EXCHANGE ----------------------------------------------------------------------------------------------------------------------
@case("NFC_UD_NEG_EXCHANGE_MAILBOX_OUT_OF_BOUNDS", bugs="no-bounds exchange-error-as-status")
def _(c):
    r = opened(c)
    must("an error and no data", told(r, ar.read(0x011C, 0xFF00)) is None)
    r.status(0x0020)


@case("NFC_UD_NEG_EXCHANGE_WITH_WRONG_LENGTH", bugs="exchange-error-as-status lenient-exchange")
def _(c):
    r = opened(c)
    lying = bytearray(ar.mailbox(ar.read(0, 4)))
    lying[1] += 1
    must("an error and no data", ar.results(r.exchange(bytes(lying))) is None)
    r.control_flow()


# LOAD CERT ---------------------------------------------------------------------------------------------------------------------
@case("NFC_UD_NEG_STANDARD_CERT_IN_LOAD_CERT_WITH_CHAINING_INCORRECT_FORMAT", bugs="swallows-errors")
def _(c):
    good = c.site.long
    for at in (0, 2, 4, 8, 12, good.index(b"\x85\x42"), good.index(b"\x86\x46") if b"\x86\x46" in good else len(good) - 72):
        r = c.certified(good[:at] + b"\xff\xff" + good[at + 2:])
        r.select()
        r.auth0()
        try:
            r.load_cert()
        except ar.Status:
            pass
        else:
            refused(r.auth1)
        r.control_flow()


@case("NFC_UD_NEG_STANDARD_CERT_IN_LOAD_CERT_WITH_CHAINING_INCORRECT_SIGNATURE", bugs="unsigned-certificates checks-certificates-early")
def _(c):
    r = c.certified(flip(c.site.long, -1))
    r.select()
    r.auth0()
    r.load_cert()
    refused(r.auth1)
    r.control_flow()


@case("UD-NFC-AUTH0-1.1", bugs="any-version")
def _(c):
    """An older name: the version differs from all that SELECT offered."""
    r = c.reader()
    r.select()
    other = next(v for v in (b"\0\x09", b"\2\0", b"\x0A\0") if v not in r.versions)
    refused(r.auth0, version=other)
    r.control_flow()
