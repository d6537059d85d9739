"""More of the checklist for a user device: lengths, chains, status words, the mailbox.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import json

import aliro_crypto as a
import aliro_reader as ar
import aliro_vectors
from aliro_cases import Failed, must, refused, same, table
from aliro_ud import MAILBOX, broken_chain, opened, told
from aliro_ud_more import answered, until_auth1

CASES, case = table()


# status words ---------------------------------------------------------------------------------------------------------------------
@case("UD_STATUS_WORDS_AS_RECORDED", bugs="swallows-errors")
def _(c):
    """Wrong commands of a recorded session, and the words they were answered with."""
    path = aliro_vectors.FOLDER / "error_statuses.json"
    for x in json.loads(path.read_text(encoding="utf-8"))["transactions"][0]["apdus"]:
        command = x["c"]
        if x["name"] == "AUTH0" and x["r"].endswith("9000"):
            until_auth1(c)                                # of a group that the device knows
        elif x["name"] == "SELECT" and x["r"].endswith("9000"):
            c.reader().select()
        else:
            same("%s %s.." % (x["name"], command[:20]), answered(c, command), x["r"][-4:].upper())


@case("UD_STATUS_WORDS", bugs="any-p1p2 swallows-errors")
def _(c):
    aid = "A000000909ACCE5501"
    for name, command, sw in (
            ("SELECT of a longer AID", "00A404000A" + aid + "00" + "00", "6A82"),
                              ("SELECT with P1 and P2 wrong", "00A4000C09" + aid + "00", "6A86"),
            ("SELECT with P2 wrong", "00A4040C09" + aid + "00", "6A86"), ("SELECT with P1 wrong", "00A4000009" + aid + "00", "6A86"),
            ("SELECT with an Lc that lies", "00A404000A" + aid, "6700"), ("GET DATA 7F68", "00CA7F6800", "6A88")):
        same(name, answered(c, command), sw)
    for name, command, sw in (("AUTH0 with P1", "8080010000", "6A86"), ("AUTH0 with CLA 00", "0080000000", "6800"),
                              ("AUTH0 with an Lc that lies", "80800000064101004201", "6700"), ("an unknown INS", "8011000000", "6D00"),
                              ("ENVELOPE before AUTH1", "00C3000002530000", "6D00"), ("GET RESPONSE of nothing", "00C0000000", None)):
        c.reader().select()
        got = answered(c, command)
        must("%s: %s" % (name, got), got == sw or (sw is None and got != "9000"))


# lengths and chains ---------------------------------------------------------------------------------------------------------------
@case("UD_GET_RESPONSE_WITH_BOTH_CLASSES", bugs="ignores-le get-response-00-only")
def _(c):
    for cla in (0x00, 0x80):
        r = c.reader()
        r.select()
        items = r.auth0_items()
        r.auth0_answer(r.whole(a.AUTH0, *r.raw(a.capdu(0x80, a.AUTH0, 0, 0, a.encode(items), 0x20)), cla=cla))
        must("in parts", len(r.answers) > 1)
        same("credential key", r.auth1()[0x5A], c.credential())
        r.status(0x0101)


@case("UD_ANSWERS_IN_SMALL_PARTS", bugs="ignores-le")
def _(c):
    r = opened(c)
    told(r, ar.write(0, bytes(range(200))))
    sealed = r.channel.seal(ar.mailbox(ar.read(0, 200)))
    data, sw = r.raw(a.capdu(0x80, a.EXCHANGE, 0, 0, sealed, 7))
    parts = [data]
    while sw[:2] == "61":
        must("7 bytes at most: %d" % len(parts[-1]), len(parts[-1]) <= 7 and len(parts) < 100)
        more, sw = r.raw(bytes.fromhex("00C0000007"))
        parts.append(more)
    must("in parts", len(parts) > 20)
    same("the end", sw, "9000")
    same("put together", ar.results(r.channel.open(b"".join(parts))), [bytes(range(200))])
    r.status(0x0101)


@case("UD_EVERY_COMMAND_IN_SMALL_PARTS", bugs="no-chaining")
def _(c):
    """Le in every part, and in the last part alone."""
    for le in (True, False):
        def sent(r, ins, data):
            *first, last = r.parts(ins, data, 10)
            for part in first:
                same("a part", r.raw(part if le else part[:-1])[1], "9000")
            return r.whole(ins, *r.raw(last))
        r = c.certified(c.site.long)
        r.select()
        r.auth0_answer(sent(r, a.AUTH0, a.encode(r.auth0_items())))
        sent(r, a.LOAD_CERT, c.site.long)
        r.want_key = True
        same("credential key", r.auth1_answer(sent(r, a.AUTH1, a.encode(r.auth1_items())))[0x5A], c.credential())
        same("status", r.channel.open(sent(r, a.EXCHANGE, r.channel.seal(a.tlv(0x97, b"\1\1")))), bytes.fromhex("00020000"))


@case("UD_EXCHANGE_NOTIFY_AND_URSK", bugs="strict-notify")
def _(c):
    r = opened(c)
    descriptor = a.tlv(0xB5, a.encode([(0x04, b"\1\2\3"), (0x80, b"door"), (0x81, b"1.0")]))
    same("notify", ar.results(r.exchange(a.tlv(0xAE, a.tlv(0x82, b"\0\0") + descriptor))), [])
    same("notify and a read", told(r, ar.read(0, 1), also=a.tlv(0xAE, a.tlv(0x9F20, b"app") + a.tlv(0x9F44, b"back end")))[1:], [])
    same("URSK, once", ar.results(r.exchange(b"\x98\0")), [])
    r.status(0x0101)


@case("UD_NEG_GET_RESPONSE_AFTER_ANOTHER_COMMAND", bugs="keeps-pending")
def _(c):
    r = c.reader()
    r.select()
    r.raw(a.capdu(0x80, a.AUTH0, 0, 0, a.encode(r.auth0_items()), 0x20))
    r.control_flow()
    must("nothing is left of the answer", answered(c, "00C0000000") != "9000")


@case("UD_NEG_CHAIN_OF_TWO_COMMANDS", bugs="chains-of-anything")
def _(c):
    r = c.reader()
    r.select()
    first, *_ = r.parts(a.AUTH0, a.encode(r.auth0_items()), 30)
    r.raw(first)
    same("another INS in the middle", answered(c, a.capdu(0x80, a.AUTH1, 0, 0, b"\x41\1\1")), "6883")
    r.control_flow()


@case("UD_SELECT_IN_THE_MIDDLE_OF_A_CHAIN", bugs="chains-swallow-select")
def _(c):
    r = c.reader()
    r.select()
    first, *_ = r.parts(a.AUTH0, a.encode(r.auth0_items()), 30)
    r.raw(first)
    c.standard(c.reader())


@case("UD_CONTROL_FLOW_IN_THE_MIDDLE_OF_A_CHAIN", bugs="chains-swallow-select")
def _(c):
    r = c.reader()
    r.select()
    first, *others = r.parts(a.AUTH0, a.encode(r.auth0_items()), 30)
    r.raw(first)
    r.control_flow()
    for part in others[:-1]:
        answered(c, part)
    must("the rest of the chain leads nowhere", answered(c, others[-1]) != "9000")


@case("UD_NEG_CHAIN_WITHOUT_END", bugs="endless-chains")
def _(c):
    r = c.reader()
    r.select()
    part = a.capdu(0x90, a.AUTH0, 0, 0, bytes(255))
    for _ in range(300):
        if r.raw(part)[1] != "9000":
            return
    raise Failed("300 parts, %d bytes, and no end" % (300 * 255))


@case("UD_NEG_LOAD_CERT_CHAIN_NOT_COMPLETED", bugs="swallows-errors")
def _(c):
    r = until_auth1(c, r=c.certified(c.site.long))
    try:
        broken_chain(r, a.LOAD_CERT, c.site.long)
    except Failed:
        refused(r.auth1)                                  # a device may judge the certificate in AUTH1
    r.control_flow()


# the mailbox ----------------------------------------------------------------------------------------------------------------------
@case("UD_MAILBOX_IN_ONE_EXCHANGE", bugs="no-writes no-sets")
def _(c):
    r = opened(c)
    told(r, ar.fill(0, 8, 0x11))
    same("reads in order", told(r, ar.read(4, 2), ar.write(0, b"\x22"), ar.fill(1, 2, 0x33), ar.read(0, 1), also=a.tlv(0x97, b"\1\1")),
         [b"\x11\x11", b"\x11"])
    same("then", told(r, ar.read(0, 4)), [b"\x22\x33\x33\x11"])


@case("UD_MAILBOX_ATOMIC_SESSION", bugs="no-atomic")
def _(c):
    r = opened(c)
    told(r, ar.fill(60, 4, 0))
    told(r, ar.write(60, b"\1"), more_follow=True)
    same("not yet", told(r, ar.read(60, 2), ar.write(61, b"\2"), more_follow=True), [b"\0\0"])
    same("last", told(r, ar.fill(62, 1, 3)), [])
    same("all of it", told(r, ar.read(60, 4)), [b"\1\2\3\0"])


@case("UD_NEG_MAILBOX_ATOMIC_SESSION_TORN", bugs="no-atomic atomic-survives")
def _(c):
    def torn(how):
        r = opened(c)
        told(r, ar.fill(70, 4, 0))
        told(r, ar.write(70, b"\x99\x99"), more_follow=True)
        how(r)
        r = opened(c)
        same("nothing of it", told(r, ar.read(70, 2)), [b"\0\0"])
        told(r, ar.write(73, b"\1"))
        same("nor later", told(r, ar.read(70, 4)), [b"\0\0\0\1"])
    torn(lambda r: c.reset())
    torn(lambda r: r.control_flow())
    torn(lambda r: must("another command in an atomic session is an error", answered(c, "8080000000") != "9000"))
    torn(lambda r: None)                                   # SELECT comes at once


@case("UD_NEG_MAILBOX_BOUNDS", bugs="no-bounds half-done")
def _(c):
    r = opened(c)
    told(r, ar.fill(80, 2, 0))
    for operation in (ar.read(MAILBOX, 1), ar.read(0, MAILBOX + 1), ar.read(0xFFFF, 0xFFFF), ar.write(MAILBOX - 1, b"\0\0"),
                      ar.write(MAILBOX, b"\0"),
                      ar.fill(MAILBOX - 1, 2, 0), ar.fill(0, 0xFFFF, 0), ar.fill(0xFFFF, 2, 0)):
        must("%02X %s: an error, no data" % (operation[0], operation[1].hex()),
             told(r, ar.write(80, b"\x44"), operation, ar.read(0, 1)) is None)
        same("nothing was done", told(r, ar.read(80, 1)), [b"\0"])
    r.status(0x0101)


@case("UD_NEG_EXCHANGE_MALFORMED", bugs="lenient-exchange exchange-error-as-status")
def _(c):
    op = a.encode([ar.read(0, 1)])
    forms = {"no 8C": a.tlv(0xBA, op), "8C not first": a.tlv(0xBA, op + b"\x8c\1\0"), "8C of 2": a.tlv(0xBA, b"\x8c\1\2" + op),
             "8C empty": a.tlv(0xBA, b"\x8c\0" + op), "empty BA": b"\xba\0", "87 of 3 bytes": a.tlv(0xBA, b"\x8c\1\0\x87\3\0\0\0"),
             "87 of 5 bytes": a.tlv(0xBA, b"\x8c\1\0\x87\5\0\0\0\0\0"), "95 of 4 bytes": a.tlv(0xBA, b"\x8c\1\0\x95\4\0\0\0\1"),
             "8A of 1 byte": a.tlv(0xBA, b"\x8c\1\0\x8a\1\0"), "97 of 1 byte": b"\x97\1\1", "97 of 3 bytes": b"\x97\3\1\1\1",
             "a tag alone": b"\x97",
             "inner length too long": a.tlv(0xBA, b"\x8c\1\0\x87\5\0\0\0\1"), "BA twice": a.tlv(0xBA, b"\x8c\1\0" + op) * 2,
             "97 twice": b"\x97\2\1\1" * 2}
    bad = []
    for name, plain in forms.items():
        r = opened(c)
        if ar.results(r.exchange(plain)) is not None:
            bad.append(name)
        r.control_flow()
    must("taken: %s" % ", ".join(bad), not bad)


@case("UD_SECOND_EXCHANGE_AFTER_STATUS", bugs="one-status-only")
def _(c):
    r = opened(c)
    r.status(0x0101)
    r.status(0x0100)
    told(r, ar.read(0, 4))
    r.status(0x0101)


@case("UD_EVERY_READER_STATUS", bugs="no-kdh")
def _(c):
    r = opened(c)
    for code in (0x0000, 0x0001, 0x0002, 0x0003, 0x0004, 0x0006, 0x0007, 0x0020, 0x0021, 0x0022, 0x0023, 0x0025, 0x0026, 0x0100, 0x0101,
                 0x0102, 0x0180,
                 0x0181, 0x0182):
        r.status(code)


@case("UD_BITMAP_SAYS_WHAT_THE_MAILBOX_HOLDS", bugs="fixed-bitmap")
def _(c):
    r = opened(c)
    told(r, ar.fill(0, MAILBOX, 0))
    r = opened(c)
    must("readable, writable, empty: %s" % r.bitmap.hex(), r.bitmap[1] & 0x38 == 0x30)
    told(r, ar.write(9, b"\1"))
    known = opened(c)
    must("it holds something: %s" % known.bitmap.hex(), known.bitmap[1] & 0x38 == 0x38)
    r = until_auth1(c, a.FAST)
    must("a hit", r.fast(r.cryptogram, [(c.credential(), known.kpersistent)]))
    same("the same in the cryptogram", r.bitmap, known.bitmap)
    r.status(0x0101)


@case("UD_MAILBOX_SURVIVES_THE_FIELD", bugs="mailbox-forgets")
def _(c):
    told(opened(c), ar.write(200, b"\x5e\xed"))
    c.reset()
    r = opened(c)
    same("kept", told(r, ar.read(200, 2)), [b"\x5e\xed"])
    r.status(0x0101)


@case("UD_NEG_MAILBOX_READ_ONLY", "read-only", bugs="no-permissions")
def _(c):
    r = opened(c)
    must("readable, not writable: %s" % r.bitmap.hex(), r.bitmap[1] & 0x30 == 0x10)
    before = told(r, ar.read(0, 2))
    must("no write", told(r, ar.write(0, b"\x13\x37")) is None)
    must("no set", told(r, ar.fill(0, 2, 0x42)) is None)
    same("as it was", told(r, ar.read(0, 2)), before)
    r.status(0x0101)


@case("UD_NEG_MAILBOX_MISSING", "no-mailbox", bugs="exchange-error-as-status")
def _(c):
    r = opened(c)
    same("bits 3, 4 and 5", r.bitmap[1] & 0x38, 0)
    must("no read", told(r, ar.read(0, 1)) is None)
    r.status(0x0101)
