"""KDF, CCM-16, CMAC, key derivations and names of the door protocols.

Written from docs/protocol.md alone (sections 1, 2, 3, 7) and the public standards it names.
"""
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.cmac import CMAC

VERSION = b"\x01"
AID_CR = bytes.fromhex("F0544150444F4F5201")
AID_AKA = bytes.fromhex("F0544150444F4F5202")
AID_IDENTITY = bytes.fromhex("F0544150444F4F520F")
AID_USIM = bytes.fromhex("A0000000871002FFFFFFFF8907090000")
AID_CARD_MANAGER = bytes.fromhex("A000000151000000")

REASONS = ["opened", "app-missing", "not-entitled", "unknown-phone", "wrong-key", "replay",
           "timeout", "torn", "resync-failed", "policy", "card-error", "server-error"]
CODE = {name: code for code, name in enumerate(REASONS)}


def cmac(key, data):
    c = CMAC(algorithms.AES(key))
    c.update(data)
    return c.finalize()


def kdf(key, label, context, bits):
    """SP 800-108 counter mode: AES-CMAC(K, i || label || 00 || context || L), L in bits on two bytes."""
    fixed = label.encode("ascii") + b"\0" + context + bits.to_bytes(2, "big")
    blocks = (bits + 127) // 128
    return b"".join(cmac(key, bytes([i]) + fixed) for i in range(1, blocks + 1))[: bits // 8]


def ccm_seal(key, aad, plain):
    return AESCCM(key, tag_length=16).encrypt(bytes(13), plain, aad)


def ccm_open(key, aad, sealed):
    """The plaintext, or None when the tag is wrong."""
    try:
        return AESCCM(key, tag_length=16).decrypt(bytes(13), sealed, aad)
    except InvalidTag:
        return None


def cf_seal(k3, code):
    return cmac(k3, b"C" + bytes([code]))[:8]


def cf_open(k3, seal):
    """The code with this seal, or None."""
    return next((code for code in range(len(REASONS)) if cf_seal(k3, code) == seal), None)


def k_ph(k_site, phone_id): return kdf(k_site, "PH", phone_id, 128)
def k_id(k_ph_): return kdf(k_ph_, "ID", b"", 128)
def k_l(k_ph_, lock_id): return kdf(k_ph_, "LOCK", lock_id, 128)
def k_milenage(k_ph_, lock_id): return kdf(k_ph_, "AKA", lock_id, 256)
def k_tuak(k_ph_, lock_id): return kdf(k_ph_, "TUAK", lock_id, 512)


def tag_t(kid, version, aid, rp):
    return cmac(kid, b"\x01" + version + aid + rp)


def binding(rp, second, lock_id, phone_id, version, aid):
    """The context that CR1 (second = RL), AKA1 and AKA3 (second = RAND) share."""
    return rp + second + lock_id + phone_id + version + aid


def cr_keys(kl, rp, rl, lock_id, phone_id, version, aid):
    k = kdf(kl, "CR1", binding(rp, rl, lock_id, phone_id, version, aid), 384)
    return k[:16], k[16:32], k[32:]


def tlv(tag, value):
    assert len(value) < 0x80
    return bytes([tag, len(value)]) + value


def tlvs(data):
    """BER-TLV objects side by side, as (tag, value); ValueError when malformed."""
    out, i = [], 0
    try:
        while i < len(data):
            tag, i = data[i], i + 1
            if tag & 0x1F == 0x1F:
                while True:
                    tag, i = tag << 8 | data[i], i + 1
                    if not tag & 0x80:
                        break
            n, i = data[i], i + 1
            if n > 0x82 or n == 0x80:
                raise ValueError("length")
            if n > 0x80:
                w = n - 0x80
                n, i = int.from_bytes(data[i:i + w], "big"), i + w
            if i + n > len(data):
                raise ValueError("truncated")
            out.append((tag, data[i:i + n]))
            i += n
    except IndexError:
        raise ValueError("truncated") from None
    return out


def fci(aid, version, rp, t):
    return tlv(0x6F, tlv(0x84, aid) + tlv(0xA5, tlv(0x80, version) + tlv(0x81, rp) + tlv(0x82, t)))


def capdu(cla, ins, p1, p2, data=b"", le=0):
    """Short C-APDU; le None leaves it out."""
    return (bytes([cla, ins, p1, p2]) + (bytes([len(data)]) + data if data else b"")
            + (b"" if le is None else bytes([le & 0xFF])))


def parse_capdu(raw):
    """(cla, ins, p1, p2, data, ne) of a short or extended C-APDU, or None. ne 0: no Le field."""
    if len(raw) < 4:
        return None
    head, body = tuple(raw[:4]), raw[4:]
    if not body:
        return head + (b"", 0)
    if len(body) == 1:
        return head + (b"", body[0] or 256)
    if body[0]:
        n, rest = body[0], body[1:]
        if len(rest) == n:
            return head + (rest, 0)
        if len(rest) == n + 1:
            return head + (rest[:n], rest[n] or 256)
        return None
    if len(body) < 3:
        return None
    n, rest = int.from_bytes(body[1:3], "big"), body[3:]
    if not rest:
        return head + (b"", n or 65536)
    if n and len(rest) == n:
        return head + (rest, 0)
    if n and len(rest) == n + 2:
        return head + (rest[:n], int.from_bytes(rest[n:], "big") or 65536)
    return None
