"""A GlobalPlatform host: what manages the content of a chip, over gp_scp03's secure channel.

Commands of the GlobalPlatform Card Specification v2.3, with the data that docs/protocol.md section 13 adds to them.
"""
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import door_crypto as d
import gp_scp03

MANAGER = d.AID_CARD_MANAGER
GOOD = "9000"
ISD, APPLICATIONS, LOAD_FILES, MODULES = 0x80, 0x40, 0x20, 0x10


class Refused(Exception):
    """A status word other than 9000."""

    def __init__(self, what, sw):
        super().__init__("%s: %s" % (what, sw))
        self.sw = sw


def length(n):
    """A BER length."""
    if n < 0x80:
        return bytes([n])
    return bytes([0x81, n]) if n < 0x100 else bytes([0x82]) + n.to_bytes(2, "big")


def ber(tag, value):
    return tag.to_bytes((tag.bit_length() + 7) // 8, "big") + length(len(value)) + value


def lv(*fields):
    return b"".join(length(len(f)) + f for f in fields)


# --- load files ------------------------------------------------------------------------------------------------------------

def private(scalar):
    return ec.derive_private_key(int(scalar, 16), ec.SECP256R1())


def public(scalar):
    return private(scalar).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def uncompressed(scalar):
    return private(scalar).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def signature(scalar, message):
    r, s = decode_dss_signature(private(scalar).sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def load_file(code, signer=None, domain=MANAGER):
    """The bytes that LOAD carries: a signature of the code's hash, if there is a signer, and the code."""
    dap = b""
    if signer:
        dap = ber(0xE2, ber(0x4F, domain) + ber(0xC3, signature(signer, hashlib.sha256(code).digest())))
    return dap + ber(0xC4, code)


def declared(code):
    """AID and version of the load file, as the module's own section `tapdoor` says."""
    at = code.rfind(b"\x07tapdoor\x80\x01\x01\x4f")
    assert at >= 0, "no section tapdoor"
    at += 12
    aid, rest = code[at + 1:at + 1 + code[at]], code[at + 1 + code[at]:]
    assert rest[:2] == b"\x81\x02", "no version"
    return aid, rest[2:4]


def as_version(code, version):
    """The same module, saying that it is another version."""
    aid, old = declared(code)
    before = ber(0x4F, aid) + ber(0x81, old)
    # A compiler may keep a copy among the data; the section comes last.
    head, tail = code.rsplit(before, 1)
    return head + ber(0x4F, aid) + ber(0x81, version) + tail


# --- the host ----------------------------------------------------------------------------------------------------------------

class Host:
    def __init__(self, transmit, keys, s16=False):
        self.transmit, self.keys, self.channel, self.s16 = transmit, keys, None, s16

    def raw(self, c):
        r = self.transmit(c)
        return r[:-2], r[-2:].hex().upper()

    def select(self, aid=MANAGER):
        self.channel = None
        return self.raw(d.capdu(0x00, 0xA4, 0x04, 0x00, aid))

    def initialize(self, s16=None, keys=None, kvn=None, check=True):
        """SELECT and INITIALIZE UPDATE; the card has proved itself afterwards."""
        self.select()
        channel = gp_scp03.Channel(keys or self.keys, MANAGER, self.s16 if s16 is None else s16)
        data, sw = self.raw(channel.initialize_update(kvn))
        if sw != GOOD:
            raise Refused("INITIALIZE UPDATE", sw)
        if check:
            channel.take(data)
        return channel, data

    def open(self, level=0x33, keys=None):
        channel, _ = self.initialize(keys=keys)
        _, sw = self.raw(channel.external_authenticate(level))
        if sw != GOOD:
            raise Refused("EXTERNAL AUTHENTICATE", sw)
        if keys:
            self.keys = keys
        self.channel = channel
        return self

    def send(self, ins, p1, p2, data=b"", cla=0x80):
        """A command in the channel: data and status word."""
        c = d.capdu(cla, ins, p1, p2, data)
        if not self.channel:
            return self.raw(c)
        data, sw = self.channel.unwrap(self.transmit(self.channel.wrap(c)))
        return data, sw.hex().upper()

    def sw(self, *a, **kw):
        return self.send(*a, **kw)[1]

    def must(self, what, ins, p1, p2, data=b""):
        data, sw = self.send(ins, p1, p2, data)
        if sw != GOOD:
            raise Refused(what, sw)
        return data

    # what is there

    def get_data(self, tag):
        return self.send(0xCA, tag >> 8, tag & 0xFF)

    def status(self, subset, aid=b""):
        """{AID: {tag: value}} of GET STATUS, all parts."""
        out, p2 = {}, 0x02
        while True:
            data, sw = self.send(0xF2, subset, p2, ber(0x4F, aid))
            if sw == "6A88":
                return out
            if sw not in (GOOD, "6310"):
                raise Refused("GET STATUS", sw)
            for tag, value in d.tlvs(data):
                assert tag == 0xE3, hex(tag)
                fields = dict(d.tlvs(value))
                out[fields[0x4F]] = fields
            if sw == GOOD:
                return out
            p2 = 0x03

    def state(self, aid):
        """The life cycle of an application, or None."""
        found = self.status(APPLICATIONS, aid).get(aid)
        return found and found[0x9F70][0]

    # content

    def install_for_load(self, aid, code, version=None, domain=MANAGER, size=None, digest=None):
        parameters = ber(0xEF, ber(0xC6, (len(code) if size is None else size).to_bytes(4, "big")))
        if version is not None:
            parameters += ber(0xCD, version)
        digest = hashlib.sha256(code).digest() if digest is None else digest
        return self.sw(0xE6, 0x02, 0x00, lv(aid, domain, digest, parameters, b""))

    def blocks(self, file):
        most = 255 - 16 - self.channel.size if self.channel else 240
        pieces = [file[i:i + most] for i in range(0, len(file), most)]
        for n, piece in enumerate(pieces):
            yield 0x80 if n + 1 == len(pieces) else 0x00, n & 0xFF, piece

    def load(self, file):
        """The first status word that is not 9000, or 9000."""
        for p1, n, piece in self.blocks(file):
            sw = self.sw(0xE8, p1, n, piece)
            if sw != GOOD:
                return sw
        return GOOD

    def load_whole(self, code, signer, **kw):
        aid, version = declared(code)
        sw = self.install_for_load(aid, code, **{"version": version, **kw})
        return self.load(load_file(code, signer)) if sw == GOOD else sw

    def install(self, p1, elf, module, aid, parameters=b"", privileges=b"\0"):
        """[for install] 04, [make selectable] 08, both 0C."""
        return self.sw(0xE6, p1, 0x00, lv(elf, module, aid, privileges, ber(0xC9, parameters), b""))

    def store(self, *blocks):
        for n, block in enumerate(blocks):
            sw = self.sw(0xE2, 0x90 if n + 1 == len(blocks) else 0x10, n, block)
            if sw != GOOD:
                return sw
        return GOOD

    def personalise(self, aid, *blocks):
        sw = self.sw(0xE6, 0x20, 0x00, lv(b"", b"", aid, b"", b"", b""))
        return self.store(*blocks) if sw == GOOD else sw

    def key_object(self, slot, key):
        return ber(0xC0, bytes([slot]) + self.keys.dek_encrypt(key))

    def delete(self, aid, related=False):
        return self.sw(0xE4, 0x00, 0x80 if related else 0x00, ber(0x4F, aid))

    def delete_key(self, kvn):
        return self.sw(0xE4, 0x00, 0x00, ber(0xD2, bytes([kvn])))

    def put_keys(self, new, replaces=0):
        """An SCP03 key set: status word, and whether the answer has the right check values."""
        data, answer = self.keys.put_key_data(new)
        got, sw = self.send(0xD8, replaces, 0x81, data)
        return sw, got == answer

    def put_provider(self, point, kid=1, replaces=0):
        """A public key by which load files must be signed."""
        data = b"\x73" + bytes([0xB0]) + length(len(point)) + point + bytes.fromhex("F0010000")
        return self.sw(0xD8, replaces, kid, data)

    def set_status(self, kind, state, aid=b""):
        return self.sw(0xF0, kind, state, aid)
