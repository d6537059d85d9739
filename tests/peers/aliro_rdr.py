"""The checklist for a reader: the certification tool's NFC cases outside step-up.

Written from public descriptions of Aliro 1.0 alone, never from Tapdoor's code. Profiles of the lock under test: plain: group 0 of the
site, no certificate, the credential's public key asked for, FAST when it can; slot: the same, asking for the key slot; standard:
never FAST; mailbox: with mailbox operations in EXCHANGE before the status; load-cert, load-cert-long, auth1-cert, auth1-cert-long:
the certified group, its certificate short or long, in LOAD CERT or in AUTH1; vendor: B1 in AUTH0, policy 3, status 0180; stuck: the
door cannot be moved.
All know the same 16 credentials, and besides one that is revoked, one that has expired and one whose time has not come.
"""
import aliro_crypto as a
import aliro_reader as ar
from aliro_cases import SITE, flip, must, same, table
from aliro_device import Device
from aliro_lock import Lock

CASES, case = table()
CREDENTIALS = 16           # that open; after them one that is revoked, one that has expired, one that does not open yet
REVOKED, EXPIRED, EARLY = CREDENTIALS, CREDENTIALS + 1, CREDENTIALS + 2
MAILBOX_EXCHANGES = [ar.mailbox(ar.write(16, b"\xAA\xBB"), more_follow=True), ar.mailbox(ar.read(16, 2), ar.fill(20, 3, 0xFF))]


def credentials(site):
    return [site.credential] + [a.private(site.number("credential %d" % n, 32)) for n in range(1, CREDENTIALS + 3)]


class Tap:
    def __init__(self, device, event):
        self.device, self.event, self.seen = device, event, device.seen
        self.verdict, self.names = event["verdict"], device.names()

    def reason(self, *reasons):
        """What the product's own report says; the counterpart's has other words."""
        must("reason of %s, not %s" % (self, " or ".join(reasons)), self.event.get("method") != "aliro" or self.event["reason"] in reasons)
        return self

    def apdus(self, n):
        """As the product counts them."""
        same("APDUs reported", self.event.get("apdus", n), n)

    def __str__(self):
        return "%s after %s" % ({k: v for k, v in self.event.items() if k in ("verdict", "reason", "detail")}, ", ".join(self.names))

    def all(self, name):
        return [got for n, got in self.seen if n == name]

    def statuses(self):
        return [got[0x97].hex() for got in self.all("EXCHANGE") if 0x97 in got]

    def opened(self):
        """Open, and the last thing said is a Reader Status of success."""
        must("it should have opened: %s" % self, self.verdict == "open")
        must("no success status at the end: %s, %s" % (self.statuses(), self), self.statuses()[-1:] and self.statuses()[-1][:2] == "01")
        must("CONTROL FLOW after success: %s" % self, not self.all("CONTROL FLOW"))
        return self

    def not_open(self):
        must("it opened: %s" % self, self.verdict != "open")
        must("a success status: %s" % self, not [s for s in self.statuses() if s[:2] == "01"])
        return self

    def failed_by_status(self, *codes):
        """Refused, and told so by EXCHANGE with a failure status."""
        self.not_open()
        must("no EXCHANGE with a failure status: %s" % self, len(self.statuses()) == 1)
        must("status %s, %s" % (self.statuses(), self), not codes or int(self.statuses()[0], 16) in codes)
        return self

    def failed_by_control_flow(self, s2=0):
        """Refused, and told so by CONTROL FLOW."""
        self.not_open()
        flows = self.all("CONTROL FLOW")
        must("no CONTROL FLOW: %s" % self, len(flows) == 1)
        same("S1 and S2", (flows[0].get(0x41), flows[0].get(0x42)), (b"\0", bytes([s2])))
        must("S1, S2 and domain data only", set(flows[0]) <= {0x41, 0x42, 0x43})
        return self


class LockUnderTest:
    """`present`: puts a device into the field until the tap is over, and returns the lock's event. `restart(revoked)`: the lock dies
    and is started again, and that credential (its number, or None) is revoked then. `kill`: it dies at once. `full`: from now on it cannot
    store anything, or it can again. `known`: what the site's honest devices remember."""

    def __init__(self, site, present, restart, kill, full, certified=False):
        self.site, self.present, self.restart, self.kill, self.full = site, present, restart, kill, full
        self.keys, self.known = credentials(site), {}
        self.groups = site.device_groups()
        self.certified, self.moves = certified, True      # moves: its door does

    def device(self, n=0, fresh=False, script=None, key=None, **more):
        key = key or self.keys[n]
        groups = {group: (known, key) for group, (known, _) in self.groups.items()}
        return Device(groups, script=script, kpersistent={} if fresh else self.known, **more)

    def tap(self, **more):
        device = self.device(**more)
        return Tap(device, self.present(device))

    def clean(self):
        """After every case: an honest device opens, by AUTH1 and then FAST or AUTH1 again."""
        t = self.tap(fresh=True)
        must("it should have opened: %s" % t, t.verdict == "open")
        if self.moves:
            t.opened()


def peer(profile, bugs):
    """The counterpart as the lock under test."""
    site = SITE
    certified = "cert" in profile
    group, key = (site.certified, site.certified_key) if certified else site.groups[0]
    lock = Lock(key, group + site.sub, [a.public(k) for k in credentials(site)], a.public(site.issuer) if certified else None,
                (site.long if "long" in profile else site.short) if certified else None, "auth1" if "auth1" in profile else "load-cert",
                profile != "standard", profile != "slot", MAILBOX_EXCHANGES if profile == "mailbox" else (), bugs=bugs,
                **({"ap": b"\3", "extension": b"\4\3\xAA\xBB\xCC", "status": 0x0180} if profile == "vendor" else {}))
    lock.stuck = profile == "stuck"
    keys = [a.public(k) for k in credentials(site)]
    lock.refused = {keys[REVOKED]: 0x0003, keys[EXPIRED]: 0x0002, keys[EARLY]: 0x0025}

    def kill():
        lock.torn |= "hangs-up-for-good" in bugs

    def restart(revoked=None):
        if "forgets-on-restart" in bugs:
            lock.cache.clear()
        if revoked is not None:
            lock.refused[keys[revoked]] = 0x0003

    def full(on):
        lock.full = on

    def present(device):
        event = lock.tap(device.apdu)
        device.power(False)
        return event
    context = LockUnderTest(site, present, restart, kill, full, certified)
    context.lock, context.moves = lock, not lock.stuck
    return context


# the good ways -----------------------------------------------------------------------------------------------------------
@case("NFC_RDR_STANDARD_NO_CERT", bugs="no-status wrong-salt")
def _(c):
    t = c.tap(fresh=True).opened()
    same("commands", t.names, ["SELECT", "AUTH0", "AUTH1", "EXCHANGE"])
    t.apdus(4)


def with_certificate(where, parts):
    def run(c):
        t = c.tap(fresh=True).opened()
        want = ["SELECT", "AUTH0", "LOAD CERT", "AUTH1", "EXCHANGE"] if where == a.LOAD_CERT else ["SELECT", "AUTH0", "AUTH1", "EXCHANGE"]
        same("commands", t.names, want)
        sent = [command for command, _ in t.device.log if command[1] == where]
        t.apdus(len(t.device.log))
        must("%d APDUs carry it, not %s" % (len(sent), parts), len(sent) == 1 if parts == 1 else len(sent) > 1)
        must("chained by CLA 90: %s" % [s[0] for s in sent], all(s[0] == 0x90 for s in sent[:-1]) and sent[-1][0] == 0x80)
        if where == a.AUTH1:
            must("the certificate is in AUTH1", 0x90 in t.all("AUTH1")[0])
    return run


case("NFC_RDR_STANDARD_CERT_IN_LOAD_CERT_NO_CHAINING", "load-cert", bugs="own-key-in-salts")(with_certificate(a.LOAD_CERT, 1))
case("NFC_RDR_STANDARD_CERT_IN_LOAD_CERT_WITH_CHAINING", "load-cert-long", bugs="never-chains")(with_certificate(a.LOAD_CERT, 2))
case("NFC_RDR_STANDARD_CERT_IN_AUTH1_NO_CHAINING", "auth1-cert", bugs="own-key-in-salts no-certificate")(with_certificate(a.AUTH1, 1))
case("NFC_RDR_STANDARD_CERT_IN_AUTH1_WITH_CHAINING", "auth1-cert-long", bugs="never-chains")(with_certificate(a.AUTH1, 2))


@case("NFC_RDR_FAST", bugs="never-fast")
def _(c):
    c.known.clear()
    must("AUTH1 the first time", "AUTH1" in c.tap().opened().names)
    t = c.tap().opened()
    same("commands", t.names, ["SELECT", "AUTH0", "EXCHANGE"])
    same("FAST", t.all("AUTH0")[0][0x41], a.FAST)
    t.apdus(3)


@case("NFC_RDR_FAST_KPERSISTENT_CACHE_MAX", bugs="cache-of-8")
def _(c):
    c.known.clear()
    for n in range(CREDENTIALS):
        must("AUTH1 the first time", "AUTH1" in c.tap(n=n).opened().names)
    for n in range(CREDENTIALS):
        same("FAST for credential %d" % n, c.tap(n=n).opened().names, ["SELECT", "AUTH0", "EXCHANGE"])


@case("NFC_RDR_EXCHANGE_MAILBOX", "mailbox", bugs="no-exchanges")
def _(c):
    t = c.tap(fresh=True).opened()
    exchanges = t.all("EXCHANGE")
    must("some EXCHANGE before the status", len(exchanges) > 1 or 0xBA in exchanges[0])
    must("BA in every EXCHANGE until the one with the status: %s" % exchanges, all(0xBA in e for e in exchanges if 0x97 not in e))
    same("read", [r for e in exchanges for r in e.get("reads", [])], [(16, 2)])
    same("written, all of it", bytes(t.device.mailbox.content[16:23]), b"\xAA\xBB\0\0\xFF\xFF\xFF")
    same("an atomic session of two", [e[0xBA][:3] for e in exchanges if 0xBA in e], [b"\x8c\1\1", b"\x8c\1\0"])


@case("NFC_RDR_EXCHANGE_RDR_DESCRIPTOR_TAG", bugs="strict-tags")
def _(c):
    t = c.tap(fresh=True, script={"auth1": lambda items: items + [(0xCF, b"\1\2\3")]}).opened()
    descriptor = [dict(a.decode(e[0xAE])).get(0xB5) for e in t.all("EXCHANGE") if 0xAE in e]
    must("a reader descriptor that parses", all(d is None or 4 in dict(a.decode(d)) for d in descriptor))


@case("NFC_RDR_CONTROL_FLOW_RDR_DESCRIPTOR_TAG", bugs="takes-88 leaves-silently")
def _(c):
    t = c.tap(script={"auth0": replace_tag(0x86, 0x88)}).failed_by_control_flow()
    for flow in t.all("CONTROL FLOW"):
        if 0x43 in flow:
            must("43 holds B5", set(dict(a.decode(flow[0x43]))) == {0xB5} and 4 in dict(a.decode(a.decode(flow[0x43])[0][1])))


def replace_tag(old, new):
    return lambda items: [(new if tag == old else tag, value) for tag, value in items]


# tags, values, signatures -------------------------------------------------------------------------------------------------
@case("NFC_RDR_NEG_AUTH0_EXTRA_TAG", bugs="strict-tags")
def _(c):
    c.tap(fresh=True, script={"auth0": lambda items: items + [(0xCF, b"\1\2\3")]}).opened()


@case("NFC_RDR_NEG_AUTH1_EXTRA_TAG", bugs="strict-tags")
def _(c):
    c.tap(fresh=True, script={"auth1": lambda items: items + [(0xCF, b"\1\2\3")]}).opened()


@case("NFC_RDR_NEG_AUTH0_WRONG_VALUE", bugs="takes-88 opens-anyway")
def _(c):
    t = c.tap(script={"auth0": replace_tag(0x86, 0x88)}).failed_by_control_flow()
    same("commands", t.names, ["SELECT", "AUTH0", "CONTROL FLOW"])


@case("NFC_RDR_NEG_AUTH1_WRONG_VALUES", bugs="any-proof always-unsecured")
def _(c):
    c.tap(fresh=True, script={"auth1": replace_tag(0x9E, 0x88)}).failed_by_status()


@case("NFC_RDR_NEG_AUTH1_WRONG_UD_SIGNATURE", bugs="any-proof always-unsecured opens-anyway leaves-silently")
def _(c):
    t = c.tap(fresh=True, script={"auth1": lambda items: [(tag, flip(v) if tag == 0x9E else v) for tag, v in items]})
    t.failed_by_status().reason("wrong-key")


@case("NFC_RDR_NEG_SEL_RSP_NO_COMMON_EXPEDITED_PROTOCOL_VERSION", bugs="any-version plain-control-flow")
def _(c):
    t = c.tap(versions=[b"\x0A\0"]).failed_by_control_flow(0x27)
    same("commands", t.names, ["SELECT", "CONTROL FLOW"])


@case("RD-NFC-SELECT-1.2", bugs="any-fci")
def _(c):
    """An older name: the answer to SELECT has another AID."""
    other = flip(a.AID)
    t = c.tap(script={"select": lambda fci: fci.replace(a.AID, other)}).failed_by_control_flow()
    same("commands", t.names, ["SELECT", "CONTROL FLOW"])


@case("RD-NFC-STDTXN-1.0", bugs="repeats-ephemeral repeats-transaction")
def _(c):
    """An older name (AUTH0): what AUTH0 says, and that it never says it twice."""
    seen = [c.tap(fresh=True).opened().all("AUTH0")[0] for _ in range(3)]
    for got in seen:
        same("tags in this order", list(got), [0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D])
        same("reader identifier", got[0x4D], (c.site.certified if c.certified else c.site.groups[0][0]) + c.site.sub)
        same("version", got[0x5C], a.VERSION)
    for tag, what in ((0x87, "ephemeral keys"), (0x4C, "transaction identifiers")):
        must("%s repeat" % what, len({got[tag] for got in seen}) == 3)
    must("an ephemeral key is the reader's own", a.public(c.site.groups[0][1]) not in {got[0x87] for got in seen})


@case("RD-NFC-STDTXN-3.0", bugs="opens-anyway leaves-silently")
def _(c):
    """An older name (CONTROL FLOW): a status word from AUTH1 ends in CONTROL FLOW."""
    for sw in ("6982", "6400", "6701", "6D00", "6F00"):
        answer = bytes.fromhex(sw)
        t = c.tap(fresh=True, script={"answer": lambda name, raw, honest: answer if name == "AUTH1" else honest()}).failed_by_control_flow()
        same("commands", t.names, ["SELECT", "AUTH0", "AUTH1", "CONTROL FLOW"])
