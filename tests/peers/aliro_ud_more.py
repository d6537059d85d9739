"""More of the checklist for a user device: a reader that lies, repeats, leaves, or comes out of step.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. Profiles as in aliro_ud.py, and besides read-only: a
mailbox that may only be read; no-mailbox.
"""
import random

import aliro_crypto as a
import aliro_reader as ar
from aliro_cases import Failed, bad_points, bad_signatures, flip, must, refused, replaced, same, table
from aliro_ud import opened, over, told

CASES, case = table()


def answered(c, hexes):
    """The status word of a bare C-APDU; no data may come with an error."""
    r = c.send(bytes.fromhex(hexes) if isinstance(hexes, str) else hexes)
    must("data with %s" % r[-2:].hex(), len(r) == 2 or r[-2:] == b"\x90\0")
    return r[-2:].hex().upper()


def until_auth1(c, cp=a.STANDARD, r=None):
    r = r or c.reader()
    r.select()
    r.cryptogram = r.auth0(cp)
    return r


def every(what, cases):
    """Runs each; all that were taken are named together."""
    taken = []
    for name, run in cases:
        try:
            run()
        except Failed as e:
            taken.append("%s (%s)" % (name, e))
    must("%s: %s" % (what, "; ".join(taken)), not taken)


# AUTH0 -------------------------------------------------------------------------------------------------------------------------
def auth0_with(c, edit):
    def run():
        r = c.reader()
        r.select()
        refused(r.auth0, edit=edit)
        r.control_flow()
    return run


@case("UD_NEG_AUTH0_POINT_NOT_ON_CURVE", bugs="any-point swallows-errors")
def _(c):
    every("taken as a point", [(name, auth0_with(c, replaced(0x87, (0x87, p)))) for name, p in bad_points().items()])


@case("UD_NEG_AUTH0_REPEATED_TAG", bugs="takes-repeated")
def _(c):
    twice = lambda tag: lambda items: [n for i in items for n in ([i, i] if i[0] == tag else [i])]
    at_end = lambda tag: lambda items: items + [i for i in items if i[0] == tag]
    tags = (0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D)
    short = [(tag, f) for tag in tags for f in (twice(tag), at_end(tag))]
    every("taken twice", [("%02X" % tag, auth0_with(c, edit)) for tag, edit in short if tag != 0x87])
    def chained():                                        # twice 87 does not fit one short APDU's 255 bytes with ease
        r = c.reader()
        r.select()
        refused(r.auth0, edit=twice(0x87), part=200)
        r.control_flow()
    every("taken twice", [("87", chained)])


@case("UD_NEG_AUTH0_MISSING_TAG", bugs="swallows-errors")
def _(c):
    every("not missed", [("%02X" % tag, auth0_with(c, replaced(tag, []))) for tag in (0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D)])
    every("not missed", [("all", auth0_with(c, lambda items: []))])


@case("UD_NEG_AUTH0_WRONG_ORDER", bugs="takes-any-order")
def _(c):
    every("taken", [("backwards", auth0_with(c, lambda items: items[::-1])),
                    ("41 and 42 swapped", auth0_with(c, lambda items: [items[1], items[0], *items[2:]])),
                    ("4D before 4C", auth0_with(c, lambda items: [*items[:4], items[5], items[4]]))])


@case("UD_NEG_AUTH0_WRONG_LENGTHS", bugs="swallows-errors")
def _(c):
    edits = []
    for tag in (0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D):
        edits.append(("%02X one byte short" % tag, lambda items, t=tag: [(n, v[:-1] if n == t else v) for n, v in items]))
        edits.append(("%02X one byte long" % tag, lambda items, t=tag: [(n, v + b"\0" if n == t else v) for n, v in items]))
    edits.append(("B1 of 128 bytes", lambda items: items + [(0xB1, bytes(128))]))
    every("taken", [(name, auth0_with(c, edit)) for name, edit in edits if not name.startswith("B1")])

    def vendor():
        r = c.reader()
        r.select()
        refused(r.auth0, edit=edits[-1][1], part=200)
        r.control_flow()
    every("taken", [("B1 of 128 bytes", vendor)])


@case("UD_NEG_AUTH0_TRUNCATED", bugs="swallows-errors")
def _(c):
    whole = a.encode(c_items(c))
    every("taken", [("%d bytes" % n, auth0_raw(c, whole[:n])) for n in range(len(whole))])


def c_items(c):
    r = c.reader()
    r.select()
    return r.auth0_items()


def auth0_raw(c, data):
    def run():
        r = c.reader()
        r.select()
        refused(r.command, a.AUTH0, data)
    return run


@case("UD_NEG_AUTH0_LENGTHS_THAT_LIE", bugs="swallows-errors")
def _(c):
    whole, taken = a.encode(c_items(c)), []
    at = 0
    while at < len(whole):                                # every TLV's length byte, one too many and one too few, and long forms
        for lie in (bytes([whole[at + 1] + 1]), bytes([whole[at + 1] - 1]), b"\x7f", b"\x80", b"\x81\xff", b"\x82\xff\xff",
                    b"\x84\xff\xff\xff\xff"):
            taken.append(("%02X %s" % (whole[at], lie.hex()), auth0_raw(c, whole[:at + 1] + lie + whole[at + 2:])))
        at += 2 + whole[at + 1]
    every("taken", taken)


@case("UD_NEG_AUTH0_VALUES", bugs="swallows-errors")
def _(c):
    every("taken", [("41=%02X" % n, auth0_with(c, replaced(0x41, (0x41, bytes([n]))))) for n in (2, 0x7f)]
          + [("42=%02X" % n, auth0_with(c, replaced(0x42, (0x42, bytes([n]))))) for n in (0, 4, 0xff)])


@case("UD_AUTH0_EVERY_AUTHENTICATION_POLICY", bugs="no-kdh")
def _(c):
    for policy in (b"\1", b"\2", b"\3"):
        c.standard(c.reader(ap=policy))


# AUTH1 -------------------------------------------------------------------------------------------------------------------------
@case("UD_KEY_SLOT", bugs="always-public-key")
def _(c):
    r = until_auth1(c)
    got = r.auth1(want_key=False, credential_of={a.key_slot(c.credential()): c.credential()}.get)
    same("key slot", got[0x4E], a.key_slot(c.credential()))
    must("the key slot only", 0x5A not in got)
    r.status(0x0101)


@case("UD_NEG_AUTH1_SIGNATURES_THAT_ARE_NONE", bugs="any-signature")
def _(c):
    for name in bad_signatures(bytes(64)):
        r = until_auth1(c)
        good = a.sign(r.key, r.t.signed(a.READER_SIGNS))
        same("status word for a signature of %s" % name, refused(r.auth1, signature=bad_signatures(good)[name]), "6982")
        r.control_flow()


@case("UD_NEG_AUTH1_SIGNATURES_OF_SOMETHING_ELSE", bugs="any-signature")
def _(c):
    old = until_auth1(c)
    replayed = a.sign(old.key, old.t.signed(a.READER_SIGNS))
    for name in ("the device's usage", "another transaction", "another key", "an older AUTH1", "another device key"):
        r = until_auth1(c)
        t = a.Transcript(**r.t.__dict__)
        if name == "another transaction":
            t.transaction = flip(t.transaction)
        if name == "another device key":
            t.device_ephemeral = flip(t.device_ephemeral, 5)
        key = c.site.stranger if name == "another key" else r.key
        signature = a.sign(key, t.signed(a.DEVICE_SIGNS if name == "the device's usage" else a.READER_SIGNS))
        refused(r.auth1, signature=replayed if name == "an older AUTH1" else signature)
        r.control_flow()


@case("UD_NEG_AUTH1_TLVS", bugs="takes-repeated swallows-errors")
def _(c):
    def one(edit):
        def run():
            r = until_auth1(c)
            refused(r.command, a.AUTH1, edit(r.auth1_items()))
            r.control_flow()
        return run
    edits = {"no 41": lambda i: a.encode(i[1:]), "no 9E": lambda i: a.encode(i[:1]), "nothing": lambda i: b"",
             "41 twice": lambda i: a.encode([i[0], *i]),
             "9E twice": lambda i: a.encode([*i, i[1]]), "9E of 63": lambda i: a.encode([i[0], (0x9E, i[1][1][:63])]),
             "9E empty": lambda i: a.encode([i[0], (0x9E, b"")]), "41 of two bytes": lambda i: a.encode([(0x41, b"\1\1"), i[1]]),
             "41 empty": lambda i: a.encode([(0x41, b""), i[1]]),
             "9E longer than there is": lambda i: a.encode([i[0]]) + b"\x9e\x41" + i[1][1],
             "cut off": lambda i: a.encode(i)[:-1], "a byte behind": lambda i: a.encode(i) + b"\x90"}
    every("taken", [(name, one(edit)) for name, edit in edits.items()])


@case("UD_NO_KPERSISTENT_AFTER_A_REFUSAL", bugs="remembers-refused")
def _(c):
    sub = b"\x4D" * 16
    r = until_auth1(c, r=c.reader(sub=sub))
    refused(r.auth1, signature=bytes(64))
    would_be = r.t.persistent(a.kdh(r.own, r.t.device_ephemeral, r.t.transaction), c.credential())
    r = until_auth1(c, a.FAST, c.reader(sub=sub))
    must("the refused AUTH1 left no Kpersistent", r.fast(r.cryptogram, [(c.credential(), would_be)]) is None)


# what an unknown reader learns ----------------------------------------------------------------------------------------------------
@case("UD_UNKNOWN_READER_LEARNS_NOTHING", bugs="fixed-cryptogram tells-strangers")
def _(c):
    known = c.standard(c.reader()).kpersistent
    strangers, seen = (c.stranger, lambda: c.reader(key=c.site.stranger)), []
    for make in strangers:                                # an unknown group, and a known group's identifier without its key
        for cp in (a.STANDARD, a.FAST, a.FAST):
            log, r = [], make()
            r.transmit = lambda command, log=log: log.append(c.send(command)) or log[-1]
            until_auth1(c, cp, r)
            refused(r.auth1)
            r.control_flow()
            seen.append(r.cryptogram)
            must("only a status word for AUTH1: %s" % log[2].hex(), len(log[2]) == 2)
            for secret in (a.x(c.credential()), a.key_slot(c.credential()), known):
                must("nothing of the credential", secret not in b"".join(log))
    fast = [s for s in seen if s]
    must("cryptograms are new each time", len(set(fast)) == len(fast) and all(len(s) == 64 for s in fast))
    must("and as long as a real one", len(until_auth1(c, a.FAST).cryptogram) == 64)


# the state machine --------------------------------------------------------------------------------------------------------------------
@case("UD_NEG_COMMANDS_OUT_OF_ORDER", bugs="no-states keys-survive-errors")
def _(c):
    r = c.reader()
    r.select()
    auth0 = a.capdu(0x80, a.AUTH0, 0, 0, a.encode(r.auth0_items()))
    auth1 = a.capdu(0x80, a.AUTH1, 0, 0, a.encode([(0x41, b"\1"), (0x9E, bytes(64))]))
    load, exchange = a.capdu(0x80, a.LOAD_CERT, 0, 0, c.site.short), a.capdu(0x80, a.EXCHANGE, 0, 0, bytes(20))
    for command in (auth1, load, exchange):
        r.select()
        same("right after SELECT, INS %02X" % command[1], answered(c, command), "6D00")
        same("then AUTH0, the session being over", answered(c, auth0), "6D00")
    c.reset()
    for command in (auth0, auth1, load, exchange):
        must("without SELECT, INS %02X" % command[1], answered(c, command) != "9000")
    r = until_auth1(c)
    same("EXCHANGE after AUTH0 STANDARD", answered(c, exchange), "6D00")
    same("AUTH1 then", refused(r.auth1), "6D00")
    r = opened(c)
    same("LOAD CERT after AUTH1", answered(c, load), "6D00")
    over(r)
    r = opened(c)
    same("AUTH1 after AUTH1", refused(r.command, a.AUTH1, a.encode(r.auth1_items())), "6D00")
    over(r)
    r = until_auth1(c, a.FAST, c.reader(sub=b"\x77" * 16))
    must("EXCHANGE after a miss", answered(c, exchange) != "9000")


@case("UD_CONTROL_FLOW_IN_EVERY_STATE", bugs="control-flow-needs-session")
def _(c):
    control = "803C000006410100420100"
    c.reader().select()
    same("after SELECT", answered(c, control), "9000")
    same("after itself", answered(c, control), "9000")
    until_auth1(c)
    same("after AUTH0", answered(c, control), "9000")
    r = opened(c)
    same("after AUTH1", answered(c, control), "9000")
    over(r)
    same("with Le", answered(c, control + "00"), "9000")
    same("with S2=27", answered(c, "803C000006410100420127"), "9000")


@case("UD_NEG_KEYS_ARE_DESTROYED_BY_ANY_ERROR", bugs="keys-survive-errors")
def _(c):
    for name, wrong in (("unknown INS", "8099000000"), ("wrong P1", "80C90100" + "14" + "00" * 20 + "00"),
                        ("wrong CLA", "00C90000" + "14" + "00" * 20 + "00"),
                        ("forged EXCHANGE", "80C90000" + "14" + "00" * 20 + "00"), ("AUTH0", "8080000000"),
                        ("Lc that lies", "80C9000014" + "00" * 19),
                        ("empty EXCHANGE", "80C9000000"), ("EXCHANGE of 15 bytes", "80C900000F" + "00" * 15 + "00")):
        r = opened(c)
        must("%s is an error" % name, answered(c, wrong) != "9000")
        try:
            over(r)
        except Failed as e:
            raise Failed("after %s: %s" % (name, e)) from None


@case("UD_SELECT_ENDS_A_SESSION", bugs="select-keeps-keys")
def _(c):
    r, again = opened(c), c.reader()
    again.select()
    refused(r.exchange, a.tlv(0x97, b"\1\1"))


@case("UD_FIELD_LOSS_ENDS_A_SESSION", bugs="power-keeps-keys")
def _(c):
    r = opened(c)
    c.reset()
    refused(r.exchange, a.tlv(0x97, b"\1\1"))
    until_auth1(c)
    c.reset()
    refused(c.reader().command, a.AUTH1, a.encode([(0x41, b"\1"), (0x9E, bytes(64))]))


# counters ----------------------------------------------------------------------------------------------------------------------------
@case("UD_NEG_COUNTER_OUT_OF_STEP", bugs="any-counter")
def _(c):
    for step in (2, 0, 0xFFFF, 0x10000, 0xFFFFFFFF):
        r = opened(c)
        r.channel.counter_out = step
        same("counter %X" % step, refused(r.exchange, a.tlv(0x97, b"\1\1")), "6982")
        r.channel.counter_out = 2                          # what it waits for now, if it waits at all
        over(r)


@case("UD_NEG_COUNTER_RUNS_OUT", "counter", bugs="counter-runs-on")
def _(c):
    """No counter beyond FFFF (the counterpart's is nearer): the session ends there, not before."""
    r, plain, done = opened(c), a.tlv(0x97, b"\1\1"), 0
    while done <= c.counters + 1:
        answer, sw = r.raw(a.capdu(0x80, a.EXCHANGE, 0, 0, r.channel.seal(plain)))
        if sw != "9000":
            break
        done += 1
    must("%X messages were taken" % done, c.counters - 16 <= done <= c.counters)
    same("status word", sw, "6D00")
    r.channel.counter_out = 1
    over(r)


@case("UD_NEG_EXCHANGE_REPLAYED", bugs="any-counter")
def _(c):
    r = opened(c)
    sealed = r.channel.seal(ar.mailbox(ar.fill(0, 1, 1)))
    r.command(a.EXCHANGE, sealed)
    same("the same again", refused(r.command, a.EXCHANGE, sealed), "6982")
    r.control_flow()
    r = opened(c)
    same("in the next session", refused(r.command, a.EXCHANGE, sealed), "6982")
    r.control_flow()


@case("UD_NEG_OWN_ANSWER_REFLECTED", bugs="swallows-errors")
def _(c):
    r = until_auth1(c)
    sealed = r.command(a.AUTH1, a.encode(r.auth1_items()))
    same("its AUTH1 answer as EXCHANGE", refused(r.command, a.EXCHANGE, sealed), "6982")


@case("UD_COUNTERS_AFTER_FAST_AND_AUTH1", bugs="counters-go-on")
def _(c):
    known = c.standard(c.reader()).kpersistent
    r = until_auth1(c, a.FAST)
    must("a hit", r.fast(r.cryptogram, [(c.credential(), known)]))
    told(r, ar.read(0, 1))                                 # reader 1, device 1
    told(r, ar.read(0, 1))
    r = until_auth1(c, a.FAST)
    same("AUTH1 after a hit", r.auth1()[0x5A], c.credential())
    r.status(0x0101)                                       # reader 1, device 2, and keys of AUTH1
    r.status(0x0101)
    r = until_auth1(c, a.FAST, c.reader(sub=b"\x66" * 16))
    same("AUTH1 after a miss", r.auth1()[0x5A], c.credential())
    r.status(0x0101)
    c.fast(c.reader(sub=b"\x66" * 16), r.kpersistent)


# noise -----------------------------------------------------------------------------------------------------------------------------
@case("UD_NEG_ONE_BIT_WRONG", bugs="any-signature")
def _(c):
    """One bit of AUTH0 or AUTH1 is wrong on its way: no such transaction comes to an end. Le and AUTH1's 41, which asks for the key
    or its slot, are spared: they are free."""
    dice = random.Random(1)
    for _ in range(300):
        which, at = dice.choice((a.AUTH0, a.AUTH1)), dice.random()
        bit, sent = 1 << dice.randrange(8), []

        def noisy(command, which=which, at=at, bit=bit, sent=sent):
            if command[1] == which:
                spots = [n for n in range(len(command) - 1) if which == a.AUTH0 or n != 7]
                spot = spots[int(at * len(spots))]
                command = command[:spot] + bytes([command[spot] ^ bit]) + command[spot + 1:]
            sent.append(command)
            return c.send(command)
        r = c.reader()
        r.transmit = noisy
        try:
            r.select()
            r.auth0()
            r.auth1()
            r.status(0x0101)
        except (ar.Status, ar.Wrong):
            continue
        raise Failed("it came to an end in spite of %s" % [s.hex() for s in sent])
