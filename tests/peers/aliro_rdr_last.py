"""More of the checklist for a reader: lengths and chains, the mailbox, noise and rubbish, a device or a lock that goes.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. Profiles as in aliro_rdr.py.
"""
import random

import aliro_crypto as a
from aliro_cases import flip, must, same, table
from aliro_rdr import Tap
from aliro_rdr_more import answers

CASES, case = table()


def leaves_at(to):
    def answer(name, raw, honest):
        if name == to:
            raise ConnectionError("left the field")
        return honest()
    return {"answer": answer}


# lengths and chains ---------------------------------------------------------------------------------------------------------------
@case("RDR_ANSWERS_IN_PARTS", bugs="no-get-response")
def _(c):
    for longest in (20, 66, 254):
        t = c.tap(fresh=True, longest=longest).opened()
        must("no answer is longer", all(len(r) <= longest + 2 for _, r in t.device.log))


@case("RDR_NEG_CHAIN_WITHOUT_END", bugs="opens-anyway")
def _(c):
    silent = []
    for at in ("SELECT", "AUTH0", "AUTH1"):
        for part in (b"", bytes(16), bytes(255)):
            def answer(name, raw, honest, at=at, part=part):
                return part + b"\x61\x10" if name in (at, "GET RESPONSE") else honest()
            t = c.tap(fresh=True, script={"answer": answer}).not_open()
            must("no end after %s: %d APDUs" % (at, len(t.device.log)), len(t.device.log) < 5000)
            if t.names[-1] != "CONTROL FLOW":
                silent.append("%s in parts of %d: %s" % (at, len(part), t))
    must("no CONTROL FLOW: %s" % "; ".join(silent), not silent)


@case("RDR_NEG_ANSWERS_TOO_SHORT", bugs="opens-anyway")
def _(c):
    for at in ("SELECT", "AUTH0", "AUTH1"):
        for r in (b"", b"\x90"):
            c.tap(fresh=True, script=answers(at, r)).not_open()


@case("RDR_FORM_OF_ITS_COMMANDS", bugs="le-in-control-flow")
def _(c):
    """Le 00 in everything but CONTROL FLOW, where there is none; CLA 80; P1 P2 0000."""
    taps = [c.tap(fresh=True).opened(), c.tap(versions=[b"\x0A\0"]).not_open()]
    for command, _ in [entry for t in taps for entry in t.device.log]:
        name = a.NAMES.get(command[1])
        length = 5 + command[4]
        if name == "SELECT":
            same("SELECT", command.hex().upper(), "00A4040009" + a.AID.hex().upper() + "00")
        elif name == "CONTROL FLOW":
            must("CONTROL FLOW without Le: %s" % command.hex(), len(command) == length and command[:4] == b"\x80\x3c\0\0")
        else:
            must("%s with Le 00: %s" % (name, command.hex()),
                 len(command) == length + 1 and command[-1] == 0 and command[2:4] == b"\0\0" and command[0] & 0xEF == 0x80)


@case("RDR_LENGTHS_OF_7F66", "auth1-cert-long", bugs="never-chains")
def _(c):
    """No command is longer than the device takes: 261 bytes without 7F66, else as it says."""
    for lengths in (None, (275, 275), (300, 258), (1024, 1024), (0xFFFF, 0xFFFF)):
        t = c.tap(fresh=True, lengths=lengths).opened()
        longest = max(len(command) for command, _ in t.device.log)
        must("%d bytes, where %s" % (longest, lengths), longest <= (lengths[0] if lengths else 261))
    for lengths in ((0, 0), (1, 1), (5, 2), (16, 16)):
        c.tap(fresh=True, lengths=lengths)                # nonsense: whatever comes of it, it comes soon
        c.tap(fresh=True).opened()


# the mailbox ------------------------------------------------------------------------------------------------------------------------
@case("RDR_NEG_EXCHANGE_ANSWERS", "mailbox", bugs="opens-anyway any-exchange leaves-silently")
def _(c):
    """The first EXCHANGE writes: nothing but 0002 0000 is right. The lock drops the channel and says CONTROL FLOW."""
    def plain(new):
        return {"exchange": lambda _: bytes.fromhex(new)}
    forms = {"error FFFF": plain("0002FFFF"), "error 0001": plain("00020001"), "nothing": plain(""), "cut off": plain("000200"),
             "data nobody asked for": plain("0001AA00020000"), "a length that lies": plain("FFFF0000"), "no status": plain("0001AA"),
             "a flipped bit": {"exchange_sealed": lambda sealed: flip(sealed, 0)}, "no tag": {"exchange_sealed": lambda sealed: sealed[:4]},
             "empty": answers("EXCHANGE", b"\x90\0"), "6982": answers("EXCHANGE", b"\x69\x82"), "6D00": answers("EXCHANGE", b"\x6d\0")}
    for name, script in forms.items():
        t = c.tap(fresh=True, script=script)
        must("%s: %s" % (name, t), t.failed_by_control_flow())


@case("RDR_NEG_EXCHANGE_COUNTER_OUT_OF_STEP", "mailbox", bugs="opens-anyway any-exchange")
def _(c):
    device = c.device(fresh=True)

    def exchange(plain):
        device.channel.counter_out += 1
        return plain
    device.script = {"exchange": exchange}
    Tap(device, c.present(device)).failed_by_control_flow()


# noise -----------------------------------------------------------------------------------------------------------------------------
@case("RDR_NEG_ONE_BIT_WRONG", bugs="opens-anyway")
def _(c):
    """One bit of an answer is wrong on its way. The cryptogram is spared: a device that is not remembered says anything there."""
    dice = random.Random(2)
    for _ in range(80):
        which, at, bit = dice.choice(("SELECT", "AUTH0", "AUTH1")), dice.random(), 1 << dice.randrange(8)

        def noisy(r, at=at, bit=bit):
            spots = [n for n in range(len(r)) if not (r[:2] == b"\x86\x41" and 69 <= n < 133)]
            spot = spots[int(at * len(spots))]
            return r[:spot] + bytes([r[spot] ^ bit]) + r[spot + 1:]
        t = c.tap(fresh=True, script=answers(which, noisy))
        must("%s: %s" % ([r.hex() for _, r in t.device.log], t), t.verdict != "open")


@case("RDR_NEG_RUBBISH_WITHIN_THE_CHANNEL", bugs="any-proof opens-anyway")
def _(c):
    """AUTH1's answer, well encrypted and badly meant."""
    dice = random.Random(5)
    for _ in range(60):
        def auth1(items, seed=dice.random()):
            own = random.Random(seed)
            plain = bytearray(a.encode(items))
            for _ in range(own.randrange(1, 4)):
                at = own.choice([n for n in range(len(plain)) if n not in range(135, 137)])          # the bitmap is free
                plain[at] ^= own.randrange(1, 256)
            return [bytes(plain[:own.choice((None, None, None, own.randrange(len(plain))))])]
        t = c.tap(fresh=True, script={"auth1": auth1}).not_open()
        must("it leaves silently: %s" % t, t.statuses() or t.all("CONTROL FLOW"))


# leaving ------------------------------------------------------------------------------------------------------------------------------
@case("RDR_NEG_DEVICE_LEAVES", bugs="opens-anyway-when-torn")
def _(c):
    for at in ("SELECT", "AUTH0", "AUTH1"):
        c.tap(fresh=True, script=leaves_at(at)).not_open()
        c.tap(fresh=True).opened()


@case("RDR_KILLED_AT_ANY_MOMENT", bugs="hangs-up-for-good")
def _(c):
    """The lock dies in the middle of a tap: what it remembers is whole, and it opens for the next one."""
    for at in ("AUTH0", "AUTH1", "EXCHANGE"):
        for after in (False, True):
            def answer(name, raw, honest, at=at, after=after):
                if name != at:
                    return honest()
                if after:
                    honest()
                c.kill()
                raise ConnectionError("the lock is dead")
            c.known.clear()
            device = c.device(script={"answer": answer})
            try:
                c.present(device)
            except ConnectionError:
                pass
            c.restart()
            c.tap().opened()
            same("FAST", c.tap().opened().names, ["SELECT", "AUTH0", "EXCHANGE"])


@case("RDR_DEVICE_LEAVES_BEFORE_THE_STATUS", bugs="hangs-up-for-good")
def _(c):
    """It proved itself and left: whether that opens is the lock's choice; the next tap is clean in any case."""
    for r in (leaves_at("EXCHANGE"), answers("EXCHANGE", b"\x61\x10"), answers("EXCHANGE", b"\x69\x82"), answers("EXCHANGE", b"\x90\0"),
              answers("EXCHANGE", lambda h: flip(h, 2)), {"exchange": lambda plain: bytes.fromhex("0002FFFF")}):
        c.tap(fresh=True, script=r)
        c.tap(fresh=True).opened()
