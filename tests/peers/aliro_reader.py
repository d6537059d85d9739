"""The steps of a reader of Aliro 1.0, each of which can be done wrongly.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. A step raises Status for another status word than
9000, Wrong for an answer that an honest user device would not give, and whatever the transport raises when the device is gone.
aliro_lock.py puts the steps together to a lock; the checklist (aliro_ud.py) calls them one by one.
"""
import os

import aliro_crypto as a

CHAIN_LIMIT = 1 << 16      # bytes of one answer in parts


class Status(Exception):
    def __init__(self, ins, sw):
        super().__init__("%s answered %s" % (a.NAMES.get(ins, "%02X" % ins), sw))
        self.sw = sw


class Wrong(Exception):
    """`code` is the Reader Status that says so."""

    def __init__(self, what, code=0x0006):
        super().__init__(what)
        self.code = code


class Reader:
    def __init__(self, transmit, key, identifier, issuer=None, certificate=None, ap=b"\1", ephemeral=a.fresh, rng=os.urandom):
        """`key`: the reader's private key. `issuer`: the public key of its certificate's issuer, where there is a certificate."""
        self.transmit, self.key, self.identifier, self.issuer, self.certificate = transmit, key, identifier, issuer, certificate
        self.ap, self.ephemeral, self.rng = ap, ephemeral, rng
        self.lengths, self.channel, self.t = None, None, None

    # bytes ----------------------------------------------------------------------------------------------------------------
    def raw(self, c):
        """One C-APDU: (data, SW)."""
        r = self.transmit(c)
        if len(r) < 2:
            raise Wrong("an answer of %d bytes" % len(r))
        return r[:-2], r[-2:].hex().upper()

    def parts(self, ins, data, size=255):
        """The C-APDUs of a command in parts of at most `size` bytes."""
        cut = [data[i:i + size] for i in range(0, len(data), size)] or [b""]
        return [a.capdu(0x90, ins, 0, 0, part) for part in cut[:-1]] + [a.capdu(0x80, ins, 0, 0, cut[-1])]

    def command(self, ins, data, le=0, part=None, extended=None, p1p2=(0, 0)):
        """A command in one APDU or in parts, and its whole answer. Extended length goes out only when told so."""
        if extended:
            c = a.capdu(0x80, ins, *p1p2, data, le, extended=True)
        elif part or len(data) > 255:
            *first, c = self.parts(ins, data, part or 255)
            for each in first:
                rest, sw = self.raw(each)
                if sw != "9000" or rest:
                    raise Status(ins, sw)
        else:
            c = a.capdu(0x80, ins, *p1p2, data, le)
        return self.whole(ins, *self.raw(c))

    def whole(self, ins, data, sw, cla=0x00):
        self.answers = [len(data)]
        while sw[:2] == "61":
            more, sw = self.raw(bytes([cla, a.GET_RESPONSE, 0, 0, int(sw[2:], 16)]))
            if not more and sw[:2] == "61" or len(data) > CHAIN_LIMIT:
                raise Wrong("a chain without end")
            data += more
            self.answers.append(len(more))
        if sw != "9000":
            raise Status(ins, sw)
        return data

    # steps ----------------------------------------------------------------------------------------------------------------
    def select(self, aid=a.AID):
        """{tag: value} within A5."""
        self.channel, self.certificate_sent = None, False
        data = self.whole(a.SELECT, *self.raw(a.capdu(0x00, a.SELECT, 4, 0, aid)))
        try:
            outer = a.decode(data)
            if len(outer) != 1 or outer[0][0] != 0x6F:
                raise ValueError("not an FCI")
            fci = a.unique(a.decode(outer[0][1]), (0x84, 0xA5))
            inside = a.unique(a.decode(fci[0xA5]), (0x80, 0x5C, 0x7F66, 0xB3))
            versions = inside[0x5C]
            if fci[0x84] != aid or inside[0x80] != b"\0\0" or len(versions) % 2 or not versions:
                raise ValueError("AID, type or versions")
            if 0x7F66 in inside:
                self.lengths = [int.from_bytes(v, "big") for _, v in a.decode(inside[0x7F66])]
                if len(inside[0x7F66]) != 8 or len(self.lengths) != 2:
                    raise ValueError("7F66")
        except (ValueError, KeyError, IndexError) as e:
            raise Wrong("FCI: %s in %s" % (e, data.hex())) from None
        self.a5 = a.tlv(0xA5, fci[0xA5])
        self.versions = [versions[i:i + 2] for i in range(0, len(versions), 2)]
        return inside

    def auth0_items(self, cp=a.STANDARD, version=a.VERSION, point=None, extension=None):
        """Makes the ephemeral key and the transaction identifier, and notes all that goes into salts and signatures."""
        self.own = self.ephemeral()
        point = point or a.public(self.own)
        self.t = a.Transcript(self.issuer or a.public(self.key), self.identifier, self.a5, version, cp, self.ap, self.rng(16), point, b"",
                              b"" if extension is None else a.tlv(0xB1, extension))
        items = [(0x41, cp), (0x42, self.ap), (0x5C, version), (0x87, point), (0x4C, self.t.transaction), (0x4D, self.identifier)]
        return items + ([] if extension is None else [(0xB1, extension)])

    def auth0(self, cp=a.STANDARD, edit=lambda items: items, le=0, part=None, p1p2=(0, 0), **more):
        """The cryptogram, or None. `edit` changes the list of TLVs."""
        return self.auth0_answer(self.command(a.AUTH0, a.encode(edit(self.auth0_items(cp, **more))), le, part, p1p2=p1p2))

    def auth0_answer(self, data):
        try:
            got = a.unique(a.decode(data), (0x86, 0x9D, 0xB2))
            a.point(got[0x86])
        except (ValueError, KeyError) as e:
            raise Wrong("AUTH0: %s in %s" % (e, data.hex())) from None
        if (0x9D in got) != (self.t.cp == a.FAST) or len(got.get(0x9D, bytes(64))) != 64:
            raise Wrong("AUTH0: the cryptogram in %s" % data.hex())
        self.t.device_ephemeral = got[0x86]
        self.t.b2 = a.tlv(0xB2, got[0xB2]) if 0xB2 in got else b""
        return got.get(0x9D)

    def fast(self, cryptogram, cache):
        """The first credential whose Kpersistent opens the cryptogram, or None; then the channel is open."""
        for credential, kpersistent in cache:
            key, sk_reader, sk_device, _, _ = self.t.fast(kpersistent, credential)
            bitmap = a.open_cryptogram(key, cryptogram)
            if bitmap is not None:
                self.bitmap, self.channel = bitmap, a.Channel(sk_reader, sk_device, True)
                return credential
        return None

    def load_cert(self, certificate=None, part=None, extended=None):
        data = self.command(a.LOAD_CERT, certificate or self.certificate, part=part, extended=extended)
        self.certificate_sent = True
        if data:
            raise Wrong("LOAD CERT answered %s" % data.hex())

    def auth1_items(self, want_key=True, certificate=None, signature=None):
        signature = a.sign(self.key, self.t.signed(a.READER_SIGNS)) if signature is None else signature
        return [(0x41, bytes([want_key])), (0x9E, signature)] + ([(0x90, certificate)] if certificate else [])

    def auth1(self, want_key=True, edit=lambda items: items, certificate=None, signature=None, credential_of=None, part=None, extended=None,
              p1p2=(0, 0)):
        """{tag: value} of the device's proof, verified. `credential_of`: key slot -> credential public key, or None."""
        self.want_key = want_key
        data = a.encode(edit(self.auth1_items(want_key, certificate, signature)))
        return self.auth1_answer(self.command(a.AUTH1, data, part=part, extended=extended, p1p2=p1p2), credential_of)

    def auth1_answer(self, sealed, credential_of=None):
        self.secret = a.kdh(self.own, self.t.device_ephemeral, self.t.transaction)
        sk_reader, sk_device, self.step_up, _, _ = self.t.volatile(self.secret)
        channel = a.Channel(sk_reader, sk_device, True)
        plain = channel.open(sealed)
        if plain is None:
            raise Wrong("AUTH1: the tag", None)
        self.channel, self.plain = channel, plain
        try:
            items = a.decode(plain)
            got = a.unique(items, (0x4E, 0x5A, 0x9E, 0x4B, 0x5E, 0x91, 0x92))
        except ValueError as e:
            raise Wrong("AUTH1: %s" % e) from None
        who, missing = (0x5A, 0x0022) if self.want_key else (0x4E, 0x0021)
        if who not in got:
            raise Wrong("AUTH1: no %02X" % who, missing)
        if 0x9E not in got:
            raise Wrong("AUTH1: no signature", 0x0023)
        order = [tag for tag, _ in items if tag in got]
        if order != [tag for tag in (0x4E, 0x5A, 0x9E, 0x4B, 0x5E, 0x91, 0x92) if tag in got] or (0x4E in got and 0x5A in got):
            raise Wrong("AUTH1: %s" % order)
        lengths = {0x4E: 8, 0x5A: 65, 0x9E: 64, 0x5E: 2, 0x91: 20, 0x92: 20}
        if 0x5E not in got or any(len(got[tag]) != n for tag, n in lengths.items() if tag in got):
            raise Wrong("AUTH1: lengths")
        try:
            a.point(got.get(0x5A) or a.public(self.own))
        except ValueError as e:
            raise Wrong("AUTH1: %s" % e, 0x0007) from None
        credential = got.get(0x5A) or (credential_of(got[0x4E]) if credential_of else None)
        if credential is None:
            raise Wrong("AUTH1: credential not known", 0x0001)
        if not a.verify(credential, got[0x9E], self.t.signed(a.DEVICE_SIGNS)):
            raise Wrong("AUTH1: the device's signature", 0x0004)
        self.bitmap, self.credential = got[0x5E], credential
        self.kpersistent = self.t.persistent(self.secret, credential)
        return got

    def exchange(self, plain, part=None, extended=None, le=0):
        """The answer's plaintext."""
        answer = self.channel.open(self.command(a.EXCHANGE, self.channel.seal(plain), le, part, extended))
        if answer is None:
            raise Wrong("EXCHANGE: the tag", None)
        return answer

    def status(self, code):
        """Reader Status. There are devices that answer it with 61xx and nothing more: that is taken, and not followed."""
        sealed, sw = self.raw(a.capdu(0x80, a.EXCHANGE, 0, 0, self.channel.seal(a.tlv(0x97, code.to_bytes(2, "big")))))
        if sw[:2] == "61" or (sw == "9000" and not sealed):
            return
        if sw != "9000":
            raise Status(a.EXCHANGE, sw)
        answer = self.channel.open(sealed)
        if answer is None:
            raise Wrong("EXCHANGE: the tag", None)
        if answer != bytes.fromhex("00020000"):
            raise Wrong("EXCHANGE of the status answered %s" % answer.hex(), None)

    def control_flow(self, s1=0, s2=0):
        data, sw = self.raw(a.capdu(0x80, a.CONTROL_FLOW, 0, 0, a.encode([(0x41, bytes([s1])), (0x42, bytes([s2]))]), None))
        if sw != "9000" or data:
            raise Status(a.CONTROL_FLOW, sw)


def read(at, n):
    return 0x87, at.to_bytes(2, "big") + n.to_bytes(2, "big")


def write(at, data):
    return 0x8A, at.to_bytes(2, "big") + data


def fill(at, n, value):
    return 0x95, at.to_bytes(2, "big") + n.to_bytes(2, "big") + bytes([value])


def mailbox(*operations, more_follow=False):
    """BA: the operations, stand-alone or last of an atomic session, or with more to follow."""
    return a.tlv(0xBA, a.encode([(0x8C, bytes([more_follow])), *operations]))


def results(plain):
    """What was read, when the answer says success; else None. Wrong when it is neither."""
    out = []
    while len(plain) > 4:
        n = int.from_bytes(plain[:2], "big")
        if n + 2 > len(plain):
            raise Wrong("EXCHANGE answered %s" % plain.hex())
        out.append(plain[2:2 + n])
        plain = plain[2 + n:]
    if plain[:2] != b"\0\2" or len(plain) != 4:
        raise Wrong("EXCHANGE answered %s" % plain.hex())
    if plain[2:] == b"\0\0":
        return out
    if out:
        raise Wrong("EXCHANGE answered data and an error: %s" % plain.hex())
    return None
