"""More of the checklist for a user device: readers' certificates, every field wrong in turn.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code.
"""
import aliro_certificate as cert
import aliro_crypto as a
import aliro_reader as ar
from aliro_cases import bad_points, flip, refused, table
from aliro_ud_more import every, until_auth1

CASES, case = table()


def certificate_refused(c, certificate):
    def run():
        for in_auth1 in (False, True):
            r = until_auth1(c, r=c.certified(certificate))
            try:
                if not in_auth1:
                    r.load_cert()
            except ar.Status:
                pass
            else:
                refused(r.auth1, certificate=certificate if in_auth1 else None)
            r.control_flow()
    return run


@case("UD_NEG_CERTIFICATE_EVERY_FIELD_CHANGED", bugs="unsigned-certificates")
def _(c):
    fields, changed = cert.unpack(c.site.long), {}
    for tag, value in fields.items():
        for name, new in (("changed", flip(value, len(value) // 2)), ("its default", cert.DEFAULTS.get(tag)), ("empty", b""),
                          ("one short", value[:-1]),
                          ("too long", value + b"1" * 40), ("left out", None)):
            items = [(n, new if n == tag else v) for n, v in sorted(fields.items()) if n != tag or new is not None]
            if new != value:
                changed["%X %s" % (tag, name)] = cert.pack(items)
    every("a certificate was taken", [(name, certificate_refused(c, data)) for name, data in changed.items()])


@case("UD_NEG_CERTIFICATE_FORMS", bugs="swallows-errors")
def _(c):
    good, fields = c.site.short, cert.unpack(c.site.short)
    key, signature = (0x85, fields[0x85]), (0x86, fields[0x86])
    forms = {"another profile": cert.pack([key, signature], b"\0\1"), "no profile": a.tlv(0x30, a.tlv(0x30, a.encode([key, signature]))),
             "wrong order": cert.pack([signature, key]), "85 twice": cert.pack([key, key, signature]),
             "86 twice": cert.pack([key, signature, signature]),
             "unused bits in 85": cert.pack([(0x85, b"\1" + key[1][1:]), signature]),
             "unused bits in 86": cert.pack([key, (0x86, b"\7" + signature[1][1:])]),
             "a byte behind": good + b"\0", "twice": good + good, "an unknown field": cert.pack([key, signature, (0x87, b"1")]),
             "signature not DER": cert.pack([key, (0x86, b"\0" + bytes(64))]),
             "signature of zeros": cert.pack([key, (0x86, bytes.fromhex("003006020100020100"))]),
             "self-signed": cert.issue(c.site.certified_key, a.public(c.site.certified_key)),
             "another issuer": cert.issue(c.site.stranger, a.public(c.site.certified_key)),
             "for another key": cert.issue(c.site.issuer, a.public(c.site.stranger)),
             "X.509 instead": cert.expand(good, a.public(c.site.issuer))}
    forms.update({"a key that is %s" % n: cert.pack([(0x85, b"\0" + p), signature]) for n, p in bad_points().items() if len(p) == 65})
    every("a certificate was taken", [(name, certificate_refused(c, data)) for name, data in forms.items()])


@case("UD_NEG_CERTIFICATE_TRUNCATED", bugs="swallows-errors")
def _(c):
    every("a certificate was taken", [("%d bytes" % n, certificate_refused(c, c.site.short[:n])) for n in range(1, len(c.site.short), 7)])


@case("UD_NEG_CERTIFICATE_FOR_A_GROUP_WITHOUT", bugs="unsigned-certificates")
def _(c):
    """A group that the device knows by its reader's own key: a certificate by anybody else opens nothing."""
    def one():
        identifier, _ = c.site.groups[0]
        certificate = cert.issue(c.site.issuer, a.public(c.site.stranger))
        r = ar.Reader(c.send, c.site.stranger, identifier + c.site.sub, a.public(c.site.issuer), certificate)
        until_auth1(c, r=r)
        r.load_cert()
        refused(r.auth1)
        r.control_flow()
    every("taken", [("stranger", one)])
