#!/usr/bin/python3
"""`tapdoor aliro` against Python's cryptography and the counterpart's certificates: keys in and out, certificates, a lock made by it.

Written from public descriptions of Aliro 1.0 and from `tapdoor aliro --help` alone. Prints `ok NAME` or `not ok NAME - why`.
"""
import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tomllib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec

import aliro_binary
import aliro_certificate as cert
import aliro_crypto as a
from aliro_cases import SITE, must, same
from aliro_check import without_aliro
from aliro_device import Device
from aliro_rdr import Tap

CASES = []
KEY = SITE.certified_key
PKCS8, SEC1 = ser.PrivateFormat.PKCS8, ser.PrivateFormat.TraditionalOpenSSL


def case(run):
    CASES.append(run)
    return run


class Shop:
    """A folder to work in, and the program."""

    def __init__(self, tapdoor, site, folder):
        self.tapdoor, self.site, self.folder = os.path.abspath(tapdoor), site, folder
        os.makedirs(folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode("ascii"))
        return name

    def get(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def status(self, *words):
        done = subprocess.run([self.tapdoor, "--json", "aliro", *words], cwd=self.folder, capture_output=True, timeout=30, check=False)
        self.said, self.complaint = done.stdout.decode(), done.stderr.decode()
        must("it panicked: %s" % self.complaint, "panicked" not in self.complaint)
        for line in self.said.splitlines():
            json.loads(line)
        return done.returncode

    def run(self, *words):
        status = self.status(*words)
        must("tapdoor aliro %s: status %d, %s" % (" ".join(words), status, self.complaint.strip()), status == 0)
        return self.said

    def new(self, *names):
        for name in names:
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        return names[0]

    def private(self, name):
        return ser.load_pem_private_key(self.get(name), None)


def pem(key, form=PKCS8):
    return key.private_bytes(ser.Encoding.PEM, form, ser.NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def jwk(key, **changed):
    point = a.public(key)
    return json.dumps({"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:]), "d": b64(a.scalar(key)), **changed})


@case
def keys_come_in_from_every_format(s):
    for name, data in (("pkcs8.pem", pem(KEY)), ("sec1.pem", pem(KEY, SEC1)), ("key.jwk", jwk(KEY)),
                       ("key.hex", a.scalar(KEY).hex() + "\n")):
        s.put(name, data)
        s.run("convert", name, s.new("out.pem"))
        same(name, a.scalar(s.private("out.pem")), a.scalar(KEY))


@case
def keys_go_out_in_every_format(s):
    s.put("in.pem", pem(KEY))
    s.run("convert", "in.pem", s.new("out.jwk"))
    made = json.loads(s.get("out.jwk"))
    same("JWK", (made["kty"], made["crv"]), ("EC", "P-256"))
    same("its point", unb64(made["x"]) + unb64(made["y"]), a.public(KEY)[1:])
    same("its scalar", unb64(made["d"]), a.scalar(KEY))
    s.run("convert", "in.pem", s.new("out.hex"))
    same("hexadecimal", s.get("out.hex").strip().decode(), a.scalar(KEY).hex())


@case
def public_keys_go_out_without_the_private_one(s):
    s.put("in.pem", pem(KEY))
    s.run("convert", "in.pem", s.new("out.pub.pem"), "--public")
    same("PEM", a.public(ser.load_pem_public_key(s.get("out.pub.pem"))), a.public(KEY))
    s.run("convert", "in.pem", s.new("out.pub.jwk"), "--public")
    must("no d in a public JWK", "d" not in json.loads(s.get("out.pub.jwk")))
    s.run("convert", "in.pem", s.new("out.pub.hex"), "--public")
    same("hexadecimal", s.get("out.pub.hex").strip().decode(), a.public(KEY).hex())
    s.put("public.pem", public_pem(KEY))
    s.run("convert", "public.pem", s.new("again.hex"))
    same("a public key in", s.get("again.hex").strip().decode(), a.public(KEY).hex())


@case
def new_keys_are_keys_and_nobody_else_reads_them(s):
    seen = set()
    for _ in range(2):
        s.run("key", "--out", s.new("new.pem"))
        seen.add(a.scalar(s.private("new.pem")))
        same("mode of the file", oct(os.stat(s.path("new.pem")).st_mode & 0o077), "0o0")
    same("different keys", len(seen), 2)
    must("a key file is not overwritten", s.status("key", "--out", "new.pem") != 0 and a.scalar(s.private("new.pem")) in seen)


@case
def what_is_no_key_is_refused(s):
    other = a.public(SITE.stranger)
    bad = {"p384.pem": pem(ec.generate_private_key(ec.SECP384R1())), "k1.pem": pem(ec.generate_private_key(ec.SECP256K1())),
           "locked.pem": KEY.private_bytes(ser.Encoding.PEM, PKCS8, ser.BestAvailableEncryption(b"secret")), "cut.pem": pem(KEY)[:120],
           "empty.pem": b"", "noise.pem": bytes(range(256)), "zero.hex": "00" * 32, "order.hex": "%064x" % a.ORDER, "short.hex": "11" * 31,
           "curve.jwk": jwk(KEY, crv="P-384"), "type.jwk": jwk(KEY, kty="RSA"), "d.jwk": jwk(KEY, d=b64(bytes(32))),
           "mismatch.jwk": jwk(KEY, x=b64(other[1:33]), y=b64(other[33:])), "off.jwk": jwk(KEY, x=b64(b"\x11" * 32)), "list.jwk": "[]",
           "off.hex": "04" + "11" * 64}
    taken = []
    for name, data in bad.items():
        s.put(name, data)
        status = s.status("convert", name, s.new("taken.pem"))
        if status not in (2, 4) or os.path.exists(s.path("taken.pem")):
            taken.append("%s: status %d" % (name, status))
    must("; ".join(taken), not taken)
    must("a missing file", s.status("convert", "nowhere.pem", s.new("taken.pem")) in (2, 4))


def names():
    return ["--serial", cert.LONG[cert.SERIAL].hex(), "--issuer-name", cert.LONG[cert.ISSUER].decode(), "--subject",
            cert.LONG[cert.SUBJECT].decode(), "--not-before", cert.LONG[cert.NOT_BEFORE].decode(), "--not-after",
            cert.LONG[cert.NOT_AFTER].decode()]


def with_keys(s):
    s.put("reader.pem", pem(KEY))
    s.put("issuer.pem", pem(SITE.issuer))
    s.put("issuer.pub.pem", public_pem(SITE.issuer))


@case
def certificates_are_those_of_profile_0000(s):
    with_keys(s)
    for more, model in (([], SITE.short), (names(), SITE.long)):
        s.run("certificate", "--key", "reader.pem", "--issuer", "issuer.pem", "--out", s.new("made.crt"), *more)
        made = s.get("made.crt")
        same("subject key", cert.subject_key(made, a.public(SITE.issuer)), a.public(KEY))
        got, want = cert.unpack(made), cert.unpack(model)
        same("fields", {k: v for k, v in got.items() if k != cert.SIGNATURE}, {k: v for k, v in want.items() if k != cert.SIGNATURE})
        same("no default is written out", made, cert.pack([(k, v) for k, v in sorted(got.items()) if v != cert.DEFAULTS.get(k)]))


@case
def x509_certificates_satisfy_cryptography(s):
    with_keys(s)
    s.put("reader.pub.pem", public_pem(KEY))
    s.run("certificate", "--key", "reader.pub.pem", "--issuer", "issuer.pem", "--x509", "--out", s.new("made.der"), *names())
    made = x509.load_der_x509_certificate(s.get("made.der"))
    SITE.issuer.public_key().verify(made.signature, made.tbs_certificate_bytes, ec.ECDSA(made.signature_hash_algorithm))
    same("subject key", a.public(made.public_key()), a.public(KEY))
    model = x509.load_der_x509_certificate(cert.expand(SITE.long, a.public(SITE.issuer)))
    same("to be signed", made.tbs_certificate_bytes, model.tbs_certificate_bytes)


@case
def certificates_are_read_and_judged(s):
    with_keys(s)
    s.put("stranger.pub.pem", public_pem(SITE.stranger))
    for name, data in (("long.crt", SITE.long), ("short.crt", SITE.short), ("hex.crt", SITE.long.hex()),
                       ("long.der", cert.expand(SITE.long, a.public(SITE.issuer)))):
        s.put(name, data)
        said = s.run("decode", name, "--issuer", "issuer.pub.pem")
        must("%s: the reader's key in %s" % (name, said), a.public(KEY).hex() in said.lower())
        if name != "short.crt":
            must("%s: the subject in %s" % (name, said), cert.LONG[cert.SUBJECT].decode() in said)
        same("%s by another issuer" % name, s.status("decode", name, "--issuer", "stranger.pub.pem"), 1)
    for n, data in enumerate((b"", b"\x30", SITE.long[:-1], SITE.long + b"\0", bytes(100), b"zz", SITE.short[:40])):
        s.put("bad%d.crt" % n, data)
        same("bad%d.crt" % n, s.status("decode", "bad%d.crt" % n), 4)


@case
def a_certificate_whose_fields_are_too_long_is_not_made(s):
    with_keys(s)
    for more in (["--subject", "s" * 33], ["--issuer-name", "i" * 33], ["--serial", "11" * 21], ["--not-before", "yesterday"],
                 ["--subject", ""]):
        status = s.status("certificate", "--key", "reader.pem", "--issuer", "issuer.pem", "--out", s.new("made.crt"), *more)
        must("%s: status %d" % (more, status), status in (2, 4) and not os.path.exists(s.path("made.crt")))


@case
def a_lock_of_an_installation(s):
    """A real installation's reader key and group go into a lock; a new credential into lock and phone; then a tap."""
    with_keys(s)
    shutil.copy(os.path.join(s.site, "lock.toml"), s.path("lock.toml"))
    must("the reader that init made is not overwritten", s.status("reader", "--lock", "lock.toml") == 2)
    for name in ("lock.toml", "phone.toml"):
        with open(os.path.join(s.site, name), encoding="utf-8") as f:
            s.put(name, without_aliro(f.read()).replace(', "aliro"]', "]").encode())
    group, sub = SITE.certified.hex(), SITE.sub.hex()
    s.run("reader", "--lock", "lock.toml", "--key", "reader.pem", "--issuer", "issuer.pem", "--group", group, "--sub", sub,
          "--certificate-in", "auth1", *names())
    made = tomllib.loads(s.get("lock.toml").decode())["aliro"]
    same("group, sub, key", (made["group"], made["sub"], made["key"]), (group, sub, a.scalar(KEY).hex()))
    same("subject key", cert.subject_key(bytes.fromhex(made["certificate"]), bytes.fromhex(made["issuer"])), a.public(KEY))
    s.put("wallet.pem", pem(SITE.credential))
    s.run("credential", "--lock", "lock.toml", "--phone", "phone.toml", "--key", "wallet.pem", "--name", "0102030405060708")
    phone = tomllib.loads(s.get("phone.toml").decode())["aliro"]
    must("the credential is in phone.toml", a.scalar(SITE.credential).hex() in [c["key"] for c in phone["credentials"]])
    must("the group is in phone.toml, with its issuer's key", any(g["id"] == group and g["key"] == a.public(SITE.issuer).hex()
                                                                    for g in phone["groups"]))
    lock = aliro_binary.Lock([s.tapdoor, "--json", "lock", "--config", s.path("lock.toml"), "--reader", "vpcd-listen:127.0.0.1:0",
                              "--method", "aliro", "--count", "1"], s.path("lock.err"))
    device = Device(SITE.device_groups())
    t = Tap(device, lock.tap(device)).opened()
    lock.stop()
    must("the certificate is in AUTH1", 0x90 in t.all("AUTH1")[0])


@case
def what_they_are_told_to_do_without_their_section_helps(s):
    """Methods or applications name Aliro, and the section is missing: the command that the error names must make it."""
    for name in ("lock", "phone"):
        with open(os.path.join(s.site, name + ".toml"), encoding="utf-8") as f:
            s.put("bare-%s.toml" % name, without_aliro(f.read()).encode())
    s.run("reader", "--lock", "bare-lock.toml")
    must("a section", len(tomllib.loads(s.get("bare-lock.toml").decode())["aliro"]["key"]) == 64)
    s.run("credential", "--lock", "bare-lock.toml", "--phone", "bare-phone.toml")
    must("a section", len(tomllib.loads(s.get("bare-phone.toml").decode())["aliro"]["credentials"]) == 1)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--tapdoor", required=True, metavar="PROGRAM")
    p.add_argument("--site", required=True, metavar="DIR", help="a folder of `tapdoor init`")
    p.add_argument("--work", required=True, metavar="DIR", help="a folder to work in")
    o = p.parse_args()
    failed = 0
    for run in CASES:
        name = "tapdoor aliro: " + run.__name__.replace("_", " ")
        try:
            run(Shop(o.tapdoor, o.site, o.work))
            print("ok " + name, flush=True)
        except (Exception, InvalidSignature) as e:
            failed += 1
            print("not ok %s - %s" % (name, " ".join(("%s: %s" % (type(e).__name__, e)).split())), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
