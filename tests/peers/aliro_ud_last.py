"""More of the checklist for a user device: restarts and crashes, what is besides, rubbish.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import random

import aliro_crypto as a
import aliro_reader as ar
from aliro_cases import must, refused, same, table
from aliro_ud import opened, told
from aliro_ud_more import until_auth1

CASES, case = table()


# what lasts, and what is besides ----------------------------------------------------------------------------------------------------
@case("UD_REMEMBERS_ACROSS_A_RESTART", bugs="forgets-on-restart")
def _(c):
    r = opened(c)
    told(r, ar.write(300, b"\x0d\xd5"))
    r.status(0x0101)
    c.restart()
    c.fast(c.reader(), r.kpersistent)
    same("the mailbox", told(opened(c), ar.read(300, 2)), [b"\x0d\xd5"])


@case("UD_SECOND_CREDENTIAL", bugs="one-group-only")
def _(c):
    """A group for which the device has another credential."""
    identifier, key = c.site.other
    for _ in range(2):
        r = ar.Reader(c.send, key, identifier + c.site.sub)
        until_auth1(c, r=r)
        same("credential key", r.auth1()[0x5A], a.public(c.site.second))
        r.status(0x0101)
    r.select()
    must("a hit", r.fast(r.auth0(a.FAST), [(a.public(c.site.second), r.kpersistent)]))
    r.status(0x0101)


@case("UD_VENDOR_EXTENSIONS_ON_BOTH_SIDES", "vendor", bugs="no-extension b2-not-in-info")
def _(c):
    r = c.reader()
    r.select()
    r.auth0(extension=b"\4\3\xAA\xBB\xCC")
    same("B2", r.t.b2, a.tlv(0xB2, b"\4\3\7\7\7"))
    same("credential key", r.auth1()[0x5A], c.credential())
    must("the signalling bit that was asked for: %s" % r.bitmap.hex(), r.bitmap[1] & 0x40)
    r.status(0x0101)
    known = r.kpersistent
    r.select()
    must("a hit", r.fast(r.auth0(a.FAST, extension=b"\4\3\xAA\xBB\xCC"), [(c.credential(), known)]))
    r.status(0x0101)


@case("UD_READER_LEAVES", bugs="power-keeps-keys")
def _(c):
    for steps in range(4):
        r = c.reader()
        r.select()
        steps > 0 and r.auth0()
        steps > 1 and r.auth1()
        steps > 2 and told(r, ar.fill(0, 1, 1), more_follow=True)
        c.reset()
        refused(r.command, a.EXCHANGE, r.channel.seal(a.tlv(0x97, b"\1\1")) if r.channel else bytes(20))
        c.clean()


@case("UD_KILLED_AT_ANY_MOMENT", bugs="crash-loses")
def _(c):
    """What is remembered is the old or the new, and whole: Kpersistent, and the mailbox."""
    told(opened(c), ar.fill(0, 200, 0))
    content = [bytes(200)]
    for n in range(6):
        known = [c.standard(c.reader()).kpersistent]
        r = until_auth1(c)
        auth1 = a.capdu(0x80, a.AUTH1, 0, 0, a.encode(r.auth1_items()))
        known.append(r.t.persistent(a.kdh(r.own, r.t.device_ephemeral, r.t.transaction), c.credential()))
        c.crash(auth1, n * 0.003)
        r = until_auth1(c, a.FAST)
        must("it remembers neither the old nor the new", r.fast(r.cryptogram, [(c.credential(), k) for k in known]))
        r = opened(c)
        content.append(bytes([n + 1]) * 200)
        c.crash(a.capdu(0x80, a.EXCHANGE, 0, 0, r.channel.seal(ar.mailbox(ar.write(0, content[-1])))), n * 0.003)
        now = told(opened(c), ar.read(0, 200))[0]
        must("the mailbox is neither the old nor the new: %s" % now.hex(), now in content[-2:])
        content = [now]


# rubbish -----------------------------------------------------------------------------------------------------------------------------
@case("UD_NEG_RUBBISH", bugs="falls-over")
def _(c):
    """Whatever comes, there is an answer, and it is no success that says anything."""
    dice = random.Random(3)
    for n in range(600):
        if n % 20 == 0:
            until_auth1(c)
        head = bytes([dice.choice((0x00, 0x80, 0x90, 0x10, 0x84, dice.randrange(255)))])
        head += bytes([dice.choice((0x80, 0x81, 0xD1, 0xC9, 0x3C, 0xC0, dice.randrange(256)))]) + dice.choice((b"\0\0", dice.randbytes(2)))
        body = dice.randbytes(dice.choice((0, 1, 5, 16, 69, 130, 255)))
        tail = dice.choice((b"", b"\0", bytes([len(body)]) + body, bytes([len(body)]) + body + b"\0", dice.randbytes(dice.randrange(300)),
                            b"\0" + len(body).to_bytes(2, "big") + body + b"\0\0"))
        r = c.send((head + tail)[:dice.choice((None, None, None, dice.randrange(2, 5)))])     # one byte is vpcd's own
        must("an answer to %s" % (head + tail).hex(), len(r) >= 2)
        must("a proof for %s" % (head + tail).hex(), r[-2:] != b"\x90\0" or head[1] != a.AUTH1 or len(r) == 2)


@case("UD_NEG_RUBBISH_WITHIN_THE_CHANNEL", bugs="falls-over exchange-error-as-status")
def _(c):
    """Well encrypted, badly meant: each is answered, by 0002 0000 behind what was read or by an error alone, and the channel goes on."""
    dice, r = random.Random(4), opened(c)
    good = [ar.mailbox(ar.read(0, 4), ar.write(8, b"\1\2\3"), ar.fill(20, 5, 7)) + a.tlv(0x97, b"\1\1"), ar.mailbox(ar.write(0, bytes(40))),
            a.tlv(0xAE, a.tlv(0x82, b"\0\0"))]
    for _ in range(300):
        plain = bytearray(dice.choice(good + [dice.randbytes(dice.randrange(60))]))
        for _ in range(dice.randrange(4)):
            if plain:
                plain[dice.randrange(len(plain))] = dice.choice((0, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFF, dice.randrange(256)))
        plain = plain[:dice.choice((None, None, dice.randrange(len(plain) + 1)))]
        ar.results(r.exchange(bytes(plain)))
    told(r, ar.fill(0, 64, 0), ar.write(0, b"\1\2"), ar.read(0, 1))
    same("and it still does what is asked", told(r, ar.read(0, 3)), [b"\1\2\0"])
    r.status(0x0101)
