"""Reader certificates of Aliro 1.0: profile 0000 (compressed), and the X.509 certificate that it stands for.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import aliro_crypto as a

DEFAULTS = {0x80: b"\1", 0x81: b"issuer", 0x82: b"200101000000Z", 0x83: b"490101000000Z", 0x84: b"subject"}
LIMITS = {0x80: (1, 20), 0x81: (1, 32), 0x82: (13, 15), 0x83: (13, 15), 0x84: (1, 32), 0x85: (66, 66), 0x86: (9, 73)}
SERIAL, ISSUER, NOT_BEFORE, NOT_AFTER, SUBJECT, KEY, SIGNATURE = range(0x80, 0x87)
# 300 bytes and more in AUTH1: every name as long as it may be.
LONG = {SERIAL: b"\x11" * 19, ISSUER: b"an issuer name of 32 characters.", NOT_BEFORE: b"250101000000Z", NOT_AFTER: b"480101000000Z",
        SUBJECT: b"a subject name of 32 characters."}

_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")
_P256 = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")


def _name(common_name):
    return a.tlv(0x30, a.tlv(0x31, a.tlv(0x30, bytes.fromhex("0603550403") + a.tlv(0x0C, common_name))))


def _time(value):
    return a.tlv(0x18 if len(value) == 15 else 0x17, value)


def _tbs(fields, issuer_key):
    extension = [a.tlv(0x30, bytes.fromhex("0603551d23") + a.tlv(0x04, a.tlv(0x30, a.tlv(0x80, hashlib.sha1(issuer_key).digest())))),
                 bytes.fromhex("300c0603551d130101ff04023000"), bytes.fromhex("300e0603551d0f0101ff040403020780")]
    return a.tlv(0x30, bytes.fromhex("a003020102") + a.tlv(0x02, fields[SERIAL]) + _ECDSA + _name(fields[ISSUER])
                 + a.tlv(0x30, _time(fields[NOT_BEFORE]) + _time(fields[NOT_AFTER])) + _name(fields[SUBJECT])
                 + a.tlv(0x30, _P256 + a.tlv(0x03, fields[KEY])) + a.tlv(0xA3, a.tlv(0x30, b"".join(extension))))


def issue(issuer, reader_key, **fields):
    """A certificate by the issuer's private key for a reader's public key (65 bytes); fields by name, as serial=b"..."."""
    return issue_with(issuer, reader_key, {globals()[k.upper()]: v for k, v in fields.items()})


def issue_with(issuer, reader_key, fields):
    every = {**DEFAULTS, **fields, KEY: b"\0" + reader_key}
    every[SIGNATURE] = b"\0" + issuer.sign(_tbs(every, a.public(issuer)), ec.ECDSA(hashes.SHA256()))
    return pack([(tag, every[tag]) for tag in sorted(every) if every[tag] != DEFAULTS.get(tag)])


def pack(items, profile=b"\0\0"):
    return a.tlv(0x30, a.tlv(0x04, profile) + a.tlv(0x30, a.encode(items)))


def unpack(compressed):
    """{tag: value} with the defaults filled in; ValueError when malformed."""
    outer = a.decode(compressed)
    if len(outer) != 1 or outer[0][0] != 0x30:
        raise ValueError("not one sequence")
    inner = a.decode(outer[0][1])
    if [tag for tag, _ in inner] != [0x04, 0x30] or inner[0][1] != b"\0\0":
        raise ValueError("not profile 0000")
    items = a.decode(inner[1][1])
    tags = [tag for tag, _ in items]
    if tags != sorted(set(tags)) or not set(tags) <= set(LIMITS) or not {KEY, SIGNATURE} <= set(tags):
        raise ValueError("fields %s" % tags)
    fields = {**DEFAULTS, **dict(items)}
    for tag, (least, most) in LIMITS.items():
        if not least <= len(fields[tag]) <= most:
            raise ValueError("length of %X" % tag)
    if fields[KEY][0] or fields[SIGNATURE][0]:
        raise ValueError("unused bits")
    a.point(fields[KEY][1:])
    return fields


def expand(compressed, issuer_key):
    """The X.509 certificate, DER."""
    fields = unpack(compressed)
    return a.tlv(0x30, _tbs(fields, issuer_key) + _ECDSA + a.tlv(0x03, fields[SIGNATURE]))


def subject_key(compressed, issuer_key):
    """The reader's public key, or None when the issuer did not sign it. ValueError when malformed."""
    fields = unpack(compressed)
    try:
        a.point(issuer_key).verify(fields[SIGNATURE][1:], _tbs(fields, issuer_key), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return None
    return fields[KEY][1:]
