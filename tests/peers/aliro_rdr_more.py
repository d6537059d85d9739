"""More of the checklist for a reader: a user device that lies, repeats, or leaves.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. Profiles as in aliro_rdr.py.
"""
import aliro_crypto as a
from aliro_cases import bad_points, bad_signatures, flip, must, replaced, same, table
from aliro_rdr import EXPIRED, REVOKED, Tap

CASES, case = table()


def answers(to, r):
    """A script: that command is answered so, all others honestly. `r` may be a function of the honest answer."""
    return {"answer": lambda name, raw, honest: (r(honest()) if callable(r) else r) if name == to else honest()}


# SELECT ------------------------------------------------------------------------------------------------------------------------
@case("RDR_NEG_FCI", bugs="any-fci opens-anyway")
def _(c):
    aid, good = a.tlv(0x84, a.AID), bytes.fromhex("80020000" "5C020100")
    forms = {"empty": b"", "no 6F": aid, "no A5": a.tlv(0x6F, aid), "no 84": a.tlv(0x6F, a.tlv(0xA5, good)),
             "no type": a.tlv(0x6F, aid + b"\xa5\4\x5c\2\1\0"),
             "no versions": a.tlv(0x6F, aid + b"\xa5\4\x80\2\0\0"), "another type": a.tlv(0x6F, aid + a.tlv(0xA5, b"\x80\2\0\1\x5c\2\1\0")),
             "half a version": a.tlv(0x6F, aid + a.tlv(0xA5, b"\x80\2\0\0\x5c\3\1\0\1")),
             "cut off": a.tlv(0x6F, aid + a.tlv(0xA5, good))[:-1],
             "an A5 that is too long": a.tlv(0x6F, aid + b"\xa5\x09" + good),
             "an inner length too long": a.tlv(0x6F, aid + a.tlv(0xA5, b"\x80\2\0\0\x5c\x04\1\0")),
             "84 twice": a.tlv(0x6F, aid + aid + a.tlv(0xA5, good)), "A5 twice": a.tlv(0x6F, aid + a.tlv(0xA5, good) * 2),
             "an indefinite length": b"\x6f\x80" + aid + a.tlv(0xA5, good),
             "7F66 of 7 bytes": a.tlv(0x6F, aid + a.tlv(0xA5, good + b"\x7f\x66\7\2\2\1\x13\2\1\1"))}
    for name, fci in forms.items():
        t = c.tap(script={"select": lambda _, fci=fci: fci})
        must("an FCI with %s: %s" % (name, t), t.not_open() and "AUTH0" not in t.names and "CONTROL FLOW" in t.names)


@case("RDR_SELECT_REFUSED", bugs="opens-anyway")
def _(c):
    for sw in (b"\x6a\x82", b"\x6f\0", b"\x69\x85"):
        t = c.tap(script=answers("SELECT", sw)).not_open()
        must("nothing but the end follows: %s" % t, not set(t.names) & {"AUTH0", "AUTH1", "EXCHANGE"})


@case("RDR_VENDOR_EXTENSION_OF_THE_DEVICE", bugs="ignores-b2")
def _(c):
    def tap(fresh):
        device = c.device(fresh=fresh, vendor=b"\4\3\1\2\3")

        def auth0(items):
            device.t.b2 = a.tlv(0xB2, b"\4\3\7\7\7")
            return items + [(0xB2, b"\4\3\7\7\7")]
        device.script = {"auth0": auth0}
        return Tap(device, c.present(device))
    tap(True).opened()


@case("RDR_SEVERAL_VERSIONS", bugs="first-version-only")
def _(c):
    t = c.tap(fresh=True, versions=[b"\2\0", b"\1\0", b"\0\x09"]).opened()
    same("version", t.all("AUTH0")[0][0x5C], a.VERSION)


# AUTH0 -------------------------------------------------------------------------------------------------------------------------
@case("RDR_NEG_AUTH0_POINT_NOT_ON_CURVE", bugs="opens-anyway leaves-silently any-point")
def _(c):
    for name, point in bad_points().items():
        t = c.tap(script={"auth0": replaced(0x86, (0x86, point))})
        must("86 %s: %s" % (name, t), t.failed_by_control_flow() and "AUTH1" not in t.names)


@case("RDR_NEG_AUTH0_TLVS", bugs="opens-anyway leaves-silently")
def _(c):
    forms = {"nothing": lambda i: b"", "86 twice": lambda i: a.encode([i[0], *i]), "cut off": lambda i: a.encode(i)[:-1],
             "a byte behind": lambda i: a.encode(i) + b"\x9d",
             "a length that lies": lambda i: b"\x86\x42" + a.encode(i)[2:],
             "a long length": lambda i: b"\x86\x84\xff\xff\xff\xff" + a.encode(i)[2:]}
    for name, edit in forms.items():
        device = c.device()
        honest = device._auth0
        device._auth0 = lambda data, edit=edit, honest=honest: edit(a.decode(honest(data)))
        t = Tap(device, c.present(device))
        must("%s: %s" % (name, t), t.failed_by_control_flow() and "AUTH1" not in t.names)


@case("RDR_NEG_AUTH0_REFUSED", bugs="opens-anyway leaves-silently")
def _(c):
    for sw in (b"\x6d\0", b"\x67\1", b"\x69\x85"):
        c.tap(script=answers("AUTH0", sw)).failed_by_control_flow()


@case("RDR_NEG_CRYPTOGRAM_IN_STANDARD", "standard", bugs="any-cryptogram")
def _(c):
    t = c.tap(fresh=True).opened()
    same("STANDARD", t.all("AUTH0")[0][0x41], a.STANDARD)
    c.tap(fresh=True, script={"auth0": lambda items: items + [(0x9D, bytes(64))]}).failed_by_control_flow()


def remembered(c):
    """The lock knows this device."""
    c.known.clear()
    c.tap().opened()


@case("RDR_NEG_CRYPTOGRAM_MISSING_IN_FAST", bugs="any-cryptogram")
def _(c):
    for edit in (replaced(0x9D, []), replaced(0x9D, (0x9D, bytes(63))), replaced(0x9D, (0x9D, bytes(65))),
                 replaced(0x9D, [(0x9D, bytes(64))] * 2)):
        remembered(c)
        c.tap(script={"auth0": edit}).failed_by_control_flow()


# FAST --------------------------------------------------------------------------------------------------------------------------
@case("RDR_FAST_MISS_THEN_STANDARD", bugs="gives-up-on-a-miss")
def _(c):
    remembered(c)
    for script in (None, {"cryptogram": lambda sealed: flip(sealed)}, {"cryptogram": lambda sealed: flip(sealed, 0)}):
        t = c.tap(fresh=script is None, script=script).opened()
        same("commands", t.names, ["SELECT", "AUTH0", "AUTH1", "EXCHANGE"])
        same("FAST", t.all("AUTH0")[0][0x41], a.FAST)
        remembered(c)


@case("RDR_NEG_FAST_REPLAYED", bugs="any-cryptogram-opens")
def _(c):
    remembered(c)
    device = c.device()
    same("FAST", Tap(device, c.present(device)).opened().names, ["SELECT", "AUTH0", "EXCHANGE"])
    old = {c_[1]: r for c_, r in device.log}
    def answer(name, raw, honest):
        return old[raw[1]] if raw[1] in (a.AUTH0, a.EXCHANGE) else b"\x69\x82" if raw[1] == a.AUTH1 else honest()
    c.tap(script={"answer": answer}).not_open()


@case("RDR_NOTHING_REMEMBERED_AFTER_A_REFUSAL", bugs="remembers-refused")
def _(c):
    """What the device made of the refused AUTH1 opens nothing: its FAST is a miss."""
    remembered(c)
    bad = {"auth1": lambda items: [(tag, flip(v) if tag == 0x9E else v) for tag, v in items]}
    for wipe in (False, True):
        c.known.clear()
        c.tap(script=bad).failed_by_status()
        t = c.tap(script=answers("AUTH1", b"\x69\x82"))
        must("AUTH1 is asked for again: %s" % t, "AUTH1" in t.names and t.not_open())


# AUTH1 -------------------------------------------------------------------------------------------------------------------------
@case("RDR_KEY_SLOT", "slot", bugs="always-public-key")
def _(c):
    for n in (0, 5):
        t = c.tap(fresh=True, n=n).opened()
        same("41", t.all("AUTH1")[0][0x41], b"\0")


@case("RDR_NEG_KEY_SLOT_UNKNOWN", "slot", bugs="opens-anyway leaves-silently")
def _(c):
    c.tap(fresh=True, key=c.site.stranger).failed_by_status(0x0001, 0x0003)


@case("RDR_NEG_CREDENTIAL_UNKNOWN", bugs="any-credential")
def _(c):
    for _ in range(2):
        t = c.tap(key=c.site.stranger).failed_by_status(0x0001, 0x0003).reason("unknown-phone")
        must("AUTH1, the second time too: %s" % t, "AUTH1" in t.names)


@case("RDR_NEG_CREDENTIAL_REVOKED", bugs="any-credential always-unsecured leaves-silently")
def _(c):
    for _ in range(2):
        c.tap(n=REVOKED).failed_by_status(0x0003).reason("not-entitled")


@case("RDR_NEG_CREDENTIAL_EXPIRED", bugs="any-credential always-unsecured leaves-silently")
def _(c):
    for _ in range(2):
        c.tap(n=EXPIRED).failed_by_status(0x0002).reason("not-entitled")


@case("RDR_NEG_CREDENTIAL_REVOKED_WHILE_REMEMBERED", "revoked", bugs="remembered-opens")
def _(c):
    c.known.clear()
    for _ in range(2):
        t = c.tap(n=3).opened()
    same("FAST", t.names, ["SELECT", "AUTH0", "EXCHANGE"])
    c.restart(3)
    c.tap(n=3).failed_by_status(0x0003).reason("not-entitled")
    c.tap(n=3, fresh=True).failed_by_status(0x0003)
    c.tap(n=4).opened()


@case("RDR_REMEMBERS_ACROSS_A_RESTART", bugs="forgets-on-restart")
def _(c):
    remembered(c)
    c.restart()
    same("FAST", c.tap().opened().names, ["SELECT", "AUTH0", "EXCHANGE"])


@case("RDR_VENDOR_POLICY_AND_STATUS", "vendor", bugs="no-extension always-unsecured")
def _(c):
    t = c.tap(fresh=True).opened()
    same("B1", t.all("AUTH0")[0].get(0xB1), b"\4\3\xAA\xBB\xCC")
    same("42", t.all("AUTH0")[0][0x42], b"\3")
    same("status", t.statuses(), ["0180"])
    c.known.clear()
    for _ in range(2):
        t = c.tap().opened()
    same("FAST", t.names, ["SELECT", "AUTH0", "EXCHANGE"])


@case("RDR_NEG_AUTH1_SIGNATURES_THAT_ARE_NONE", bugs="any-proof")
def _(c):
    for name in bad_signatures(bytes(64)):
        t = c.tap(fresh=True,
                  script={"auth1": lambda items, name=name: [(tag, bad_signatures(v)[name] if tag == 0x9E else v) for tag, v in items]})
        must("a signature of %s: %s" % (name, t), t.failed_by_status(0x0004))


@case("RDR_NEG_AUTH1_SIGNATURE_OF_THE_READER_REFLECTED", bugs="any-proof")
def _(c):
    device = c.device(fresh=True)
    device.script = {"auth1": lambda items: [(tag, device.seen[-1][1][0x9E] if tag == 0x9E else v) for tag, v in items]}
    Tap(device, c.present(device)).failed_by_status(0x0004)


@case("RDR_NEG_AUTH1_ANOTHER_KEY_THAN_SIGNED", bugs="any-proof")
def _(c):
    """Another entitled phone's key is named, by a phone that is not entitled."""
    c.tap(fresh=True, key=c.site.stranger, script={"auth1": replaced(0x5A, (0x5A, a.public(c.keys[0])))}).failed_by_status(0x0004)


@case("RDR_NEG_AUTH1_TLVS", bugs="any-proof opens-anyway leaves-silently")
def _(c):
    slot = (0x4E, a.key_slot(a.public(c.keys[0])))
    forms = {"no key": lambda i: i[1:], "the key slot instead": lambda i: [slot, *i[1:]], "both": lambda i: [slot, *i],
             "5A twice": lambda i: [i[0], *i],
             "9E twice": lambda i: [*i[:2], *i[1:]], "wrong order": lambda i: [i[1], i[0], i[2]], "5E first": lambda i: [i[2], i[0], i[1]],
             "9E of 63 bytes": lambda i: [i[0], (0x9E, i[1][1][:63]), i[2]],
             "9E of 65 bytes": lambda i: [i[0], (0x9E, i[1][1] + b"\0"), i[2]],
             "5A of 64 bytes": lambda i: [(0x5A, i[0][1][:64]), *i[1:]], "no 5E": lambda i: i[:2],
             "5E of 1 byte": lambda i: [*i[:2], (0x5E, b"\0")],
             "91 of 19 bytes": lambda i: [*i, (0x91, bytes(19))], "nothing": lambda i: [],
             "a length that lies": lambda i: [b"\x5a\x7f" + i[0][1]],
             "cut off": lambda i: [a.encode(i)[:-1]], "key off the curve": lambda i: [(0x5A, flip(i[0][1])), *i[1:]],
             "key at infinity": lambda i: [(0x5A, b"\4" + bytes(64)), *i[1:]]}
    for name, edit in forms.items():
        t = c.tap(fresh=True, script={"auth1": edit})
        must("%s: %s" % (name, t), t.failed_by_status())


@case("RDR_NEG_AUTH1_FORGED", bugs="opens-anyway leaves-silently")
def _(c):
    """What cannot be decrypted: there is no channel to say so, so CONTROL FLOW; EXCHANGE with a failure is allowed as well."""
    for name, r in {"random": lambda h: b"\x5a" * 153 + b"\x90\0", "empty": b"\x90\0", "15 bytes": bytes(15) + b"\x90\0",
                    "16 bytes": bytes(16) + b"\x90\0",
                    "flipped": lambda h: flip(h, 40), "the tag flipped": lambda h: flip(h, -3),
                    "short": lambda h: h[:-3] + b"\x90\0"}.items():
        t = c.tap(fresh=True, script=answers("AUTH1", r)).not_open()
        must("%s: %s" % (name, t), len(t.all("CONTROL FLOW")) == 1 or len(t.statuses()) == 1 or t.names[-1] == "EXCHANGE")


@case("RDR_NEG_AUTH1_COUNTER_OUT_OF_STEP", bugs="opens-anyway")
def _(c):
    device = c.device(fresh=True)

    def auth1(items):
        device.channel.counter_out = 2
        return items
    device.script = {"auth1": auth1}
    Tap(device, c.present(device)).not_open()


@case("RDR_NEG_ANSWER_REPLAYED", "standard", bugs="repeats-transaction-and-key")
def _(c):
    device = c.device(fresh=True)
    Tap(device, c.present(device)).opened()
    old = {command[1]: r for command, r in device.log}
    t = c.tap(fresh=True, script={"answer": lambda name, raw, honest: old.get(raw[1], b"\x90\0")}).not_open()
    must("to the letter of a good tap: %s" % t, "AUTH1" in t.names or "AUTH0" in t.names)


@case("RDR_DOCUMENTS_AND_PRIVATE_DATA", bugs="strict-tags-of-auth1 zero-timestamps")
def _(c):
    """A device that has documents, and private mailbox data: step-up is not asked for, and it opens."""
    c.known.clear()
    for bits, issued, revoked in ((0x1C33, b"2026-02-26T15:54:26Z", None), (0x1C33, b"2026-02-26T15:54:26Z", b"2026-03-26T15:54:26Z")):
        for n in range(2):
            device = c.device(bits=bits, script={"auth1": lambda items: [*items[:2], (0x4B, b"private"), *items[2:]]})
            device.issued, device.revoked = issued, revoked
            t = Tap(device, c.present(device)).opened()
        same("FAST", t.names, ["SELECT", "AUTH0", "EXCHANGE"])
