#!/usr/bin/python3
"""The Aliro counterparts against recorded transactions (protocol/tests/vectors/aliro): primitives, user device, reader.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. Signatures and random numbers are taken from the
recording, everything else is computed anew and compared byte by byte. Exit status 0 when all of it agrees.
"""
import json
import sys

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import aliro_certificate as cert
import aliro_crypto as a
import aliro_reader as ar
import published
from aliro_device import Device

FOLDER = published.VECTORS / "aliro"
hx = bytes.fromhex


def same(what, got, want):
    got, want = (v.hex() if isinstance(v, bytes) else v for v in (got, want))
    assert got == want, "%s\n  got      %s\n  recorded %s" % (what, got, want)


# primitives ---------------------------------------------------------------------------------------------------------
def derivation(v):
    if v["kdf"] == "ECDH+X9.63":
        own = a.private(hx(v["private_key"]))
        same("Z", own.exchange(ec.ECDH(), a.point(hx(v["public_key"]))), v["z"])
        same("Kdh", a.kdh(own, hx(v["public_key"]), hx(v["sharedinfo"])), v["kdh"])
    elif v["kdf"] in ("StepUpSKReader", "StepUpSKDevice"):
        same(v["kdf"], a.step_up_keys(hx(v["ikm"]))[v["kdf"] == "StepUpSKDevice"], v["okm"])
    else:
        same(v["kdf"], a.hkdf(hx(v["ikm"]), hx(v["salt"]), hx(v["info"]), v["length"]), v["okm"])


def primitives(flow, t):
    for v in t["derivations"]:
        derivation(v)
    for v in t["signatures"]:
        key = a.private(hx(v["private_key"]))
        assert a.verify(a.public(key), hx(v["signature"]), hx(v["data"])), "a recorded signature"
        assert a.verify(a.public(key), a.sign(key, hx(v["data"])), hx(v["data"])), "a signature of our own"
        assert not a.verify(a.public(key), bytes(64), hx(v["data"])), "a signature of zeros"
    for v in t["encrypted_payloads"]:
        if "by" in v:
            c = hx(v["ciphertext"] + v["tag"])
            to, counter = hx(v["iv"])[:8], int(v["iv"][16:], 16)
            end = a.Channel(hx(v["key"]), hx(v["key"]), v["by"] == "READER", counter_out=counter)
            assert end.to == to
            same("sealed", end.seal(hx(v["plaintext"])), c)
            other = a.Channel(hx(v["key"]), hx(v["key"]), v["by"] != "READER", counter_in=counter)
            same("opened", other.open(c), v["plaintext"])
        elif v.get("op") == "cryptogram":
            c = hx(v["ciphertext"]) + hx(v["tag"]) if "tag" in v else hx(v["cryptogram"])
            same("cryptogram", AESGCM(hx(v["key"])).encrypt(bytes(12), hx(v["plaintext"]), None), c)
            same("bitmap", a.open_cryptogram(hx(v["key"]), c), hx(v["plaintext"])[2:4])
            same("cryptogram", a.cryptogram(hx(v["key"]), hx(v["plaintext"])[2:4]), c)
    inputs = flow["inputs"]
    same("key slot", a.key_slot(hx(inputs["device"]["credential_public_key"])), inputs["device"]["key_slot"])
    for v in t.get("certificate_decompressed", []):
        compressed, issuer = hx(inputs["reader"]["certificate_compressed"]), hx(v["issuer_public_key"])
        same("X.509", cert.expand(compressed, issuer), v["x509"])
        same("subject key", cert.subject_key(compressed, issuer), inputs["reader"]["reader_public_key"])
        fields = cert.unpack(compressed)
        same("packed", cert.pack([(n, fields[n]) for n in sorted(fields) if fields[n] != cert.DEFAULTS.get(n)]), compressed)
        named = {n: v for n, v in fields.items() if n not in (cert.KEY, cert.SIGNATURE)}
        again = cert.issue_with(a.private(hx(inputs["reader"]["issuer_private_key"])), fields[cert.KEY][1:], named)
        assert cert.subject_key(again, issuer) == fields[cert.KEY][1:]
        assert cert.subject_key(again, hx(inputs["reader"]["reader_public_key"])) is None


# the user device against the recorded commands ------------------------------------------------------------------------
def device_of(flow):
    v = flow["inputs"]["device"]
    credential = a.private(hx(v["credential_private_key"]))
    groups = {hx(r["group_identifier"]): (hx(r["key"]), credential) for r in v["readers"]}
    versions = [n.to_bytes(2, "big") for n in v.get("supported_versions", [0x0100])]
    pool = [a.private(hx(k)) for k in v["ephemeral_private_keys"]]
    device = Device(groups, v["mailbox"]["size"], versions=versions, ephemeral=lambda: pool.pop(0), longest=254)
    group = hx(flow["inputs"]["reader"]["group_identifier"])
    for sub, key in v.get("kpersistent", {}).items():
        device.kpersistent[(group + hx(sub), a.public(credential))] = hx(key)
    return device


def replay_device(flow):
    device = device_of(flow)
    for t in flow["transactions"]:
        plain = [hx(v["plaintext"]) for v in t["encrypted_payloads"] if v.get("by") == "USER"]
        if plain:
            recorded = a.decode(plain[0])
            device.script["auth1"] = lambda items, r=recorded: (
                r if 0x91 in dict(r) else [(n, dict(r)[n] if n == 0x9E else v) for n, v in items])      # 91: a document, for step-up
        miss = next((hx(x["r"])[-66:-2] for x in t["apdus"] if x["name"] == "AUTH0" and "9d40" in x["r"]), None)
        device.rng = lambda n, miss=miss: miss
        for n, x in enumerate(t["apdus"]):
            if x["name"] == "SELECT" and hx(x["c"])[5:14] == a.AID_STEP_UP:
                return              # step-up is not the counterpart's
            same("%s, the %d. APDU" % (x["name"], n + 1), device.apdu(hx(x["c"])), x["r"])
        after = t["device_after"]
        same("mailbox", bytes(device.mailbox.content), after.get("mailbox", bytes(device.mailbox.content).hex()))
        same("Kpersistent", {r[16:].hex(): k.hex() for (r, _), k in device.kpersistent.items()}, after["kpersistent"])


# the reader against the recorded answers ------------------------------------------------------------------------------
class Recording:
    def __init__(self, apdus):
        self.left = list(apdus)

    def __call__(self, c):
        assert self.left, "one more APDU: %s" % c.hex()
        x = self.left.pop(0)
        same(x["name"], c, x["c"])
        return hx(x["r"])


def replay_reader(flow):
    v = flow["inputs"]["reader"]
    keys, numbers = [a.private(hx(k)) for k in v["ephemeral_private_keys"]], [hx(n) for n in v["transaction_identifiers"]]
    issuer = a.public(a.private(hx(v["issuer_private_key"]))) if "issuer_private_key" in v else None
    reader = ar.Reader(None, a.private(hx(v["reader_private_key"])), hx(v["group_identifier"] + v["sub_identifier"]), issuer,
                       hx(v.get("certificate_compressed", "")), bytes([v["authentication_policy"]]), lambda: keys.pop(0),
                       lambda n: numbers.pop(0))
    cache = [(hx(e["credential_public_key"]), hx(e["kpersistent"])) for e in v.get("fast_cache", [])]
    for t in flow["transactions"]:
        reader.transmit = Recording(t["apdus"])
        parts = [hx(x["c"]) for x in t["apdus"] if x["name"].startswith("AUTH1")]
        signature = b"".join(c[5:5 + c[4]] for c in parts)[5:69]
        for step in t["steps"]:
            try:
                done = one_step(reader, step["step"], signature, cache)
            except (ar.Wrong, ar.Status) as e:
                expected = step["step"].split(":")[0]
                assert expected.startswith("expect-"), "%s: %s" % (step["step"], e)
                close(reader, e, t["apdus"][-1]["name"])
                continue
            if done is NotImplemented:
                return              # step-up
            if isinstance(step["result"], list):
                same(step["step"], [r.hex() for r in done], step["result"])
            elif isinstance(step["result"], dict) and "signaling_bitmap" in step["result"]:
                same("bitmap", reader.bitmap, step["result"]["signaling_bitmap"])
        assert not reader.transmit.left, "not sent: %s" % reader.transmit.left[0]
        learnt = t["reader_after"]["fast_cache"]
        same("cache", [{"credential_public_key": c.hex(), "kpersistent": k.hex()} for c, k in cache], learnt)


def one_step(reader, step, signature, cache):
    kind, _, rest = step.partition(":")
    if kind.startswith("expect-"):
        kind, _, rest = rest.partition(":")
    if kind == "select":
        if a.VERSION not in reader.select()[0x5C]:
            raise ar.Wrong("no common version", 0x27)
    elif kind in ("auth0-std", "auth0-fast"):
        sealed = reader.auth0(a.FAST if kind == "auth0-fast" else a.STANDARD)
        if sealed:
            reader.fast(sealed, cache)
    elif kind == "load-cert":
        reader.load_cert()
    elif kind in ("auth1", "auth1-cert"):
        reader.auth1(signature=signature, certificate=reader.certificate if kind == "auth1-cert" else None)
        cache[:] = [e for e in cache if e[0] != reader.credential] + [(reader.credential, reader.kpersistent)]
    elif kind == "status":
        reader.status(int(rest, 16))
    elif kind in ("read", "write", "set", "xchg"):
        return exchange(reader, kind, rest)
    elif kind == "apdu":
        c, _, sw = rest.partition("=")
        same("SW", reader.raw(hx(c))[1], sw.upper())
    else:
        return NotImplemented
    return None


def exchange(reader, kind, rest):
    if kind == "xchg":
        v = json.loads(rest)
    else:
        v = {kind: [[int(w, 0) if kind != "write" or n == 0 else w for n, w in enumerate(rest.split(":"))]]}
    operations = ([ar.read(*r) for r in v.get("read", [])] + [ar.write(at, hx(w)) for at, w in v.get("write", [])]
                  + [ar.fill(*s) for s in v.get("set", [])])
    return ar.results(reader.exchange(ar.mailbox(*operations, more_follow=v.get("atomic", False))))


def close(reader, e, last):
    """What a reader does when something went wrong, as recorded."""
    if last == "EXCHANGE":
        reader.status(e.code)
    elif last == "CONTROL FLOW":
        reader.control_flow(0, 0x27 if getattr(e, "code", None) == 0x27 else 0)


def check_file(path):
    flow = json.loads(path.read_text(encoding="utf-8"))
    for t in flow["transactions"]:
        primitives(flow, t)
    replay_device(flow)
    if flow["flow"] != "error_statuses":          # raw commands only, with random numbers that are not recorded
        replay_reader(flow)


def problems():
    files = sorted(FOLDER.glob("*.json"))
    if len(files) < 15:
        yield "vectors", "only %d files in %s" % (len(files), FOLDER)
    for path in files:
        try:
            check_file(path)
        except (AssertionError, KeyError, ar.Wrong, ar.Status, IndexError, ValueError) as e:
            yield path.name, "%s: %s" % (type(e).__name__, e)


def main():
    found = list(problems())
    for name, why in found:
        print("%s: %s" % (name, why))
    print("%d recorded flows, %d that differ" % (len(list(FOLDER.glob("*.json"))), len(found)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
