"""The checklist for a user device: the certification tool's NFC cases outside step-up.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. Profiles: plain; descriptor: the answer to SELECT has
B3; extended: it has 7F66 with 275 and 275. Every one has a mailbox of 512 bytes that may be read and written.
"""
import aliro_crypto as a
import aliro_reader as ar
from aliro_cases import Failed, must, refused, same, table

CASES, case = table()
MAILBOX = 512


class PhoneUnderTest:
    """`send`: C-APDU -> R-APDU. `reset`: the field goes and comes again. `restart`: its program dies and is started again.
    `crash(command, seconds)`: so too, so long after it was sent that command. `counters`: where a session ends."""
    counters = 0xFFFF

    def __init__(self, site, send, reset, restart, crash):
        self.site, self.send, self.reset, self.restart, self.crash = site, send, reset, restart, crash

    def reader(self, group=0, sub=None, key=None, **more):
        identifier, own = self.site.groups[group]
        return ar.Reader(self.send, key or own, identifier + (sub or self.site.sub), **more)

    def certified(self, certificate=None, **more):
        return ar.Reader(self.send, self.site.certified_key, self.site.certified + self.site.sub, a.public(self.site.issuer),
                         certificate or self.site.short, **more)

    def stranger(self):
        return ar.Reader(self.send, self.site.stranger, bytes(range(32)))

    def credential(self):
        return a.public(self.site.credential)

    def standard(self, reader, certificate=None, status=True, **more):
        """SELECT, AUTH0, AUTH1 and Reader Status; returns the reader, whose channel is open."""
        reader.select()
        reader.auth0(**more)
        same("credential key", reader.auth1(certificate=certificate)[0x5A], self.credential())
        if status:
            reader.status(0x0101)
        return reader

    def fast(self, reader, kpersistent):
        reader.select()
        sealed = reader.auth0(a.FAST)
        must("the cryptogram opens", reader.fast(sealed, [(self.credential(), kpersistent)]))
        reader.status(0x0101)

    def clean(self):
        """After every case: the next tap is as if nothing had been."""
        self.standard(self.reader())


def over(reader):
    """The session is over: nothing sealed with its keys is taken, and CONTROL FLOW is answered 9000."""
    if reader.channel:
        refused(reader.exchange, a.tlv(0x97, b"\1\1"))
    reader.control_flow()


# the good ways -----------------------------------------------------------------------------------------------------------
@case("NFC_UD_STANDARD_NO_CERT", bugs="no-kdh")
def _(c):
    c.standard(c.reader())


@case("NFC_UD_STANDARD_CERT_IN_LOAD_CERT_NO_CHAINING", bugs="no-load-cert salts-with-subject-key")
def _(c):
    load(c, c.certified())


@case("NFC_UD_STANDARD_CERT_IN_LOAD_CERT_WITH_CHAINING", bugs="no-load-cert no-chaining")
def _(c):
    load(c, c.certified(c.site.long))
    load(c, c.certified(c.site.long), part=30)
    load(c, c.certified(c.site.short), part=100)


def load(c, r, part=None):
    r.select()
    r.auth0()
    r.load_cert(part=part)
    same("credential key", r.auth1()[0x5A], c.credential())
    r.status(0x0101)


@case("NFC_UD_STANDARD_CERT_IN_AUTH1_NO_CHAINING", "extended", bugs="no-cert-in-auth1")
def _(c):
    c.standard(c.certified(), c.site.short)
    r = c.certified()
    r.select()
    r.auth0()
    same("credential key", r.auth1(certificate=c.site.short, extended=True)[0x5A], c.credential())
    r.status(0x0101)


@case("NFC_UD_STANDARD_CERT_IN_AUTH1_WITH_CHAINING", bugs="no-cert-in-auth1 no-chaining")
def _(c):
    c.standard(c.certified(), c.site.long)


@case("NFC_UD_STANDARD_SIXTEEN_GROUPIDENTIFIER_ONE_AC", bugs="one-group-only")
def _(c):
    for group in range(16):
        c.standard(c.reader(group))


@case("NFC_UD_FAST", bugs="forgets-kpersistent")
def _(c):
    r = c.standard(c.reader())
    c.fast(c.reader(), r.kpersistent)


@case("NFC_UD_FAST_KPERSISTENT_CACHE_MAX", bugs="cache-of-8 kpersistent-by-group")
def _(c):
    subs = [bytes([n]) * 16 for n in range(1, 17)]
    known = [c.standard(c.reader(1, sub)).kpersistent for sub in subs]
    for sub, kpersistent in zip(subs, known):
        c.fast(c.reader(1, sub), kpersistent)


@case("NFC_UD_AUTH0_RESPONSE_CHAINING", bugs="ignores-le")
def _(c):
    for vendor in (b"", b"\4\3\1\2\3" + bytes(20)):
        r = c.reader()
        r.select()
        r.auth0(le=0x3C, extension=vendor)
        must("60 bytes, and the rest by GET RESPONSE: %s" % r.answers, r.answers[0] == 60 and len(r.answers) > 1)
        same("credential key", r.auth1()[0x5A], c.credential())
        r.status(0x0101)


@case("NFC_UD_SELECT_RESPONSE_UD_DESCRIPTOR_TAG", "descriptor", bugs="no-descriptor")
def _(c):
    r = c.reader()
    inside = r.select()
    must("B3 in the answer to SELECT", 0 < len(inside.get(0xB3, b"")) <= 127)
    c.standard(r)


# the mailbox -------------------------------------------------------------------------------------------------------------
def opened(c, **more):
    return c.standard(c.reader(**more), status=False)


def told(r, *operations, also=b"", more_follow=False, **more):
    """What the operations read, or None for an error."""
    return ar.results(r.exchange(ar.mailbox(*operations, more_follow=more_follow) + also, **more))


@case("NFC_UD_EXCHANGE_READ_REQUEST", bugs="no-writes")
def _(c):
    r = opened(c)
    told(r, ar.write(8, b"\x10\x20\x30\x40\x50"))
    same("read", told(r, ar.read(9, 3)), [b"\x20\x30\x40"])
    same("two reads", told(r, ar.read(8, 2), ar.read(12, 1)), [b"\x10\x20", b"\x50"])
    same("nothing", told(r, ar.read(8, 0)), [b""])
    same("the last byte", len(told(r, ar.read(MAILBOX - 1, 1))[0]), 1)
    r.status(0x0101)


@case("NFC_UD_EXCHANGE_WRITE_REQUEST", bugs="no-writes")
def _(c):
    r = opened(c)
    for value in (b"\xAA\xBB", b"\xCC\xDD"):
        same("written", told(r, ar.write(100, value)), [])
        same("read back", told(r, ar.read(100, 2)), [value])
    same("read before the write of the same command", told(r, ar.write(100, b"\0\0"), ar.read(100, 2)), [b"\xCC\xDD"])
    r.status(0x0101)


@case("NFC_UD_EXCHANGE_SET_REQUEST", bugs="no-sets")
def _(c):
    r = opened(c)
    for value in (0x77, 0x88):
        same("set", told(r, ar.fill(40, 4, value)), [])
        same("read back", told(r, ar.read(40, 4)), [bytes([value]) * 4])
    same("sets before writes", told(r, ar.write(41, b"\1"), ar.fill(40, 4, 0x99)), [])
    same("read back", told(r, ar.read(40, 4)), [b"\x99\1\x99\x99"])
    r.status(0x0101)


@case("NFC_UD_EXCHANGE_WITH_CHAINING", bugs="no-chaining no-writes")
def _(c):
    r = opened(c)
    pattern = bytes(n & 0xFF for n in range(1, 301))
    told(r, ar.write(0, pattern))
    same("300 bytes read back", told(r, ar.read(0, 300)), [pattern])
    told(r, ar.write(0, pattern[::-1]), part=30)
    same("written in parts of 30", told(r, ar.read(0, 300), part=10), [pattern[::-1]])
    same("the whole mailbox", len(told(r, ar.read(0, MAILBOX))[0]), MAILBOX)
    r.status(0x0101)


@case("NFC_UD_EXCHANGE_WITH_EXTENDED_LENGTH", "extended", bugs="too-long-answers no-lengths")
def _(c):
    r = c.reader()
    r.select()
    same("7F66", r.lengths, [275, 275])
    r = opened(c)
    pattern = bytes(n * 7 & 0xFF for n in range(225))
    told(r, ar.write(0, pattern), extended=True)
    read = told(r, ar.read(0, 0x113), also=a.tlv(0x97, b"\1\1"), extended=True)
    must("275 bytes that begin with what was written", len(read) == 1 and len(read[0]) == 275 and read[0][:225] == pattern)
    must("no response APDU beyond 275 bytes: %s" % r.answers, max(r.answers) + 2 <= 275)
    r.status(0x0101)


# chains that are never finished ------------------------------------------------------------------------------------------------
def broken_chain(r, ins, data):
    """In parts of 30 bytes, without the second."""
    first, _, *others = r.parts(ins, data, 30)
    for c in [first, *others]:
        got, sw = r.raw(c)
        if sw != "9000":
            return
    raise Failed("a command without its second part was answered 9000")


@case("NFC_UD_NEG_AUTH0_CHAINING_NOT_COMPLETED", bugs="swallows-errors")
def _(c):
    r = c.reader()
    r.select()
    broken_chain(r, a.AUTH0, a.encode(r.auth0_items()))
    r.t.device_ephemeral = a.public(a.fresh())
    refused(r.command, a.AUTH1, a.encode(r.auth1_items()))
    r.control_flow()


@case("NFC_UD_NEG_AUTH1_CHAINING_NOT_COMPLETED", bugs="swallows-errors")
def _(c):
    r = c.reader()
    r.select()
    r.auth0()
    broken_chain(r, a.AUTH1, a.encode(r.auth1_items()))
    refused(r.command, a.AUTH1, a.encode(r.auth1_items()))
    r.control_flow()


@case("NFC_UD_NEG_EXCHANGE_WITH_CHAINING_NOT_COMPLETED", bugs="swallows-errors keys-survive-errors")
def _(c):
    r = opened(c)
    told(r, ar.fill(0, 100, 0))
    broken_chain(r, a.EXCHANGE, r.channel.seal(ar.mailbox(ar.write(0, b"\x55" * 100))))
    over(r)
    same("nothing was written", told(opened(c), ar.read(0, 100)), [bytes(100)])
