"""More of the checklist for a reader: each failure code of Reader Status by name, and that FAST opens for nobody who did not answer.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. Profiles as in aliro_rdr.py. 0001, 0002, 0003 and 0004 are in
aliro_rdr_more.py (RDR_NEG_CREDENTIAL_UNKNOWN, _EXPIRED, _REVOKED, RDR_NEG_AUTH1_SIGNATURES_THAT_ARE_NONE).
"""
import aliro_crypto as a
from aliro_cases import flip, must, replaced, same, table
from aliro_rdr import EARLY
from aliro_rdr_last import leaves_at
from aliro_rdr_more import answers, remembered

CASES, case = table()


def each(c, code, forms):
    for name, edit in forms.items():
        t = c.tap(fresh=True, script={"auth1": edit})
        must("%s: %s" % (name, t), t.failed_by_status(code))


def slot_of(items):
    return 0x4E, a.key_slot(items[0][1])


# what is wrong with the answer to AUTH1 ------------------------------------------------------------------------------------------------
@case("RDR_STATUS_0006_INVALID_DATA_FORMAT", bugs="any-proof always-unsecured leaves-silently")
def _(c):
    each(c, 0x0006, {"wrong order": lambda i: [i[1], i[0], *i[2:]], "9E twice": lambda i: [*i[:2], *i[1:]],
                     "9E of 63 bytes": lambda i: [i[0], (0x9E, i[1][1][:63]), *i[2:]], "no 5E": lambda i: i[:2],
                     "5E of 1 byte": lambda i: [*i[:2], (0x5E, b"\0")], "key and key slot": lambda i: [slot_of(i), *i],
                     "91 of 19 bytes": lambda i: [*i, (0x91, bytes(19))], "cut off": lambda i: [a.encode(i)[:-1]]})


@case("RDR_STATUS_0007_INVALID_DATA_CONTENT", bugs="any-proof always-unsecured leaves-silently")
def _(c):
    each(c, 0x0007, {"a key off the curve": lambda i: [(0x5A, flip(i[0][1])), *i[1:]],
                     "a key at infinity": lambda i: [(0x5A, b"\4" + bytes(64)), *i[1:]]})


@case("RDR_STATUS_0021_NO_KEY_SLOT", "slot", bugs="any-proof always-unsecured leaves-silently")
def _(c):
    key = (0x5A, a.public(c.keys[0]))
    each(c, 0x0021, {"no 4E": lambda i: i[1:], "the key instead": lambda i: [key, *i[1:]], "88 instead": replaced(0x4E, (0x88, bytes(8)))})


@case("RDR_STATUS_0022_NO_PUBLIC_KEY", bugs="any-proof always-unsecured leaves-silently")
def _(c):
    each(c, 0x0022, {"no 5A": lambda i: i[1:], "the key slot instead": lambda i: [slot_of(i), *i[1:]],
                     "88 instead": lambda i: [(0x88, i[0][1]), *i[1:]]})


@case("RDR_STATUS_0023_NO_SIGNATURE", bugs="any-proof always-unsecured leaves-silently")
def _(c):
    each(c, 0x0023, {"no 9E": replaced(0x9E, []), "88 instead": lambda i: [i[0], (0x88, i[1][1]), *i[2:]]})


# what is wrong with the credential, or with the lock ---------------------------------------------------------------------------------
@case("RDR_STATUS_0025_INVALID_ACCESS_RIGHTS", bugs="any-credential always-unsecured leaves-silently")
def _(c):
    """A credential of this door whose time has not come."""
    for _ in range(2):
        c.tap(n=EARLY).failed_by_status(0x0025).reason("not-entitled")


@case("RDR_STATUS_0026_HARDWARE_ISSUE", bugs="ignores-its-disk always-unsecured leaves-silently")
def _(c):
    """A lock that cannot store what it must remember: it does not open, and says so. Later it can, and opens."""
    c.full(True)
    try:
        for _ in range(2):
            c.tap(fresh=True).failed_by_status(0x0026)
    finally:
        c.full(False)
    c.known.clear()
    must("nothing was remembered", "AUTH1" in c.tap().opened().names)
    same("FAST", c.tap().opened().names, ["SELECT", "AUTH0", "EXCHANGE"])


@case("RDR_STATUS_0026_THE_DOOR_DOES_NOT_MOVE", "stuck", bugs="ignores-its-door")
def _(c):
    """Its verdict stands, and after success it tells that the door did not follow."""
    c.known.clear()
    for commands in (["SELECT", "AUTH0", "AUTH1", "EXCHANGE", "EXCHANGE"], ["SELECT", "AUTH0", "EXCHANGE", "EXCHANGE"]):
        t = c.tap()
        same("commands", t.names, commands)
        same("statuses", t.statuses(), ["0101", "0026"])


# FAST opens only after both have proved themselves -----------------------------------------------------------------------------------
@case("RDR_NEG_FAST_NOT_ANSWERED", bugs="opens-unproved opens-anyway")
def _(c):
    """The first EXCHANGE is the reader's proof. Whoever did not answer it as one that could open it has not taken it."""
    forms = {"it leaves": leaves_at("EXCHANGE"), "6982": answers("EXCHANGE", b"\x69\x82"), "6D00": answers("EXCHANGE", b"\x6d\0"),
             "6700": answers("EXCHANGE", b"\x67\0"), "nothing": answers("EXCHANGE", b""), "one byte": answers("EXCHANGE", b"\x90"),
             "a flipped bit": answers("EXCHANGE", lambda h: flip(h, 2)), "a tag cut off": answers("EXCHANGE", lambda h: h[:-3] + b"\x90\0"),
             "rubbish": answers("EXCHANGE", bytes(20) + b"\x90\0"), "FFFF": {"exchange": lambda plain: bytes.fromhex("0002FFFF")}}
    for name, script in forms.items():
        remembered(c)
        t = c.tap(script=script)
        same("%s: commands" % name, t.names[:3], ["SELECT", "AUTH0"] + ["EXCHANGE"] * (name != "it leaves"))
        must("%s: %s" % (name, t), t.verdict != "open" and "AUTH1" not in t.names)
        must("%s: reason of %s" % (name, t), t.event.get("method") != "aliro" or t.event["reason"] in ("torn", "timeout", "wrong-key", "card-error"))


@case("RDR_FAST_ANSWERED_BRIEFLY", bugs="chases-61")
def _(c):
    """61xx, or 9000 without data: so some phones answer the status. It is taken for an answer, and not followed."""
    for brief in (b"\x61\x14", b"\x61\0", b"\x90\0"):
        remembered(c)
        t = c.tap(script=answers("EXCHANGE", brief))
        must("%s: %s" % (brief.hex(), t), t.verdict == "open")
        must("GET RESPONSE: %s" % t.device.log, all(command[1] != a.GET_RESPONSE for command, _ in t.device.log))
