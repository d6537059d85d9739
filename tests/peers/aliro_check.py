#!/usr/bin/python3
"""The Aliro checklist against the real programs: `tapdoor phone` before our reader, our user devices before `tapdoor lock`.

Written from public descriptions of Aliro 1.0 and from docs/aliro.md (the configuration) alone. One process for each configuration.
Prints `ok NAME` or `not ok NAME - why` for every case; exit status 0 when all held.
"""
import argparse
import os
import re
import sys
import time
import tomllib

import aliro_binary
import aliro_crypto as a
import aliro_rdr
import aliro_ud
from aliro_cases import SITE
from aliro_checklist import RDR, UD, verdict

PHONE = {"plain": ("", ""), "descriptor": ('descriptor = "0403010203"', ""), "extended": ("extended-length = [275, 275]", ""),
         "read-only": ("", "mailbox-writable = false"), "no-mailbox": ("", "mailbox = 0"), "counter": ("", ""),
         "vendor": ('vendor = "0403070707"\nsignaling = "0040"', "")}


def without_aliro(text):
    """A configuration of `tapdoor init`, its Aliro tables taken out."""
    kept, out = True, []
    for line in text.splitlines():
        if line.startswith("["):
            kept = not line.strip("[] ").startswith("aliro")
        if kept:
            out.append(line)
    return "\n".join(out) + "\n"


def base(folder, name, profile, **settings):
    with open(os.path.join(folder, name + ".toml"), encoding="utf-8") as f:
        text = without_aliro(f.read())
    for key, value in {"store": '"aliro-%s-%s.chip"' % (name, profile), **settings}.items():
        text = re.sub("(?m)^%s = .*" % key, "%s = %s" % (key, value), text)
    return re.sub("(?m)^url = ", "# url = ", text)


def write(folder, name, profile, text):
    path = os.path.join(folder, "aliro-%s-%s.toml" % (name, profile))
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def phone_toml(folder, profile):
    more, credential = PHONE[profile]
    lines = [base(folder, "phone", profile, applications='["aliro"]'), "[aliro]", more, "[[aliro.credentials]]",
             'key = "%s"' % a.scalar(SITE.credential).hex(), credential,
             "[[aliro.credentials]]", 'key = "%s"' % a.scalar(SITE.second).hex()]
    for group, (key, own) in SITE.device_groups().items():
        lines += ["[[aliro.groups]]", 'id = "%s"' % group.hex(), 'key = "%s"' % key.hex(),
                  "credential = %d" % (1 if own is SITE.credential else 2)]
    return write(folder, "phone", profile, "\n".join(lines) + "\n")


def lock_toml(folder, profile, revoked=None):
    certified = "cert" in profile
    group, key = (SITE.certified, SITE.certified_key) if certified else SITE.groups[0]
    lines = [base(folder, "lock", profile, methods='["aliro"]'), "[aliro]", 'group = "%s"' % group.hex(), 'sub = "%s"' % SITE.sub.hex(),
             'key = "%s"' % a.scalar(key).hex(), 'credential-by = "%s"' % ("key-slot" if profile == "slot" else "public-key")]
    if certified:
        lines += ['certificate = "%s"' % (SITE.long if "long" in profile else SITE.short).hex(),
                  'issuer = "%s"' % a.public(SITE.issuer).hex(),
                  'certificate-in = "%s"' % ("auth1" if "auth1" in profile else "load-cert")]
    if profile == "standard":
        lines.append("fast = false")
    if profile == "mailbox":
        lines.append('mailbox = ["atomic: write 16 aabb", "read 16 2; set 20 3 ff"]')
    if profile == "vendor":
        lines += ['vendor = "0403aabbcc"', "policy = 3", 'status = "0180"']
    for n, credential in enumerate(aliro_rdr.credentials(SITE)):
        lines += ["[[aliro.credentials]]", 'id = "%016x"' % (0xA11 + n), 'key = "%s"' % a.public(credential).hex()]
        if n in (aliro_rdr.REVOKED, revoked):
            lines.append("revoked = true")
        if n == aliro_rdr.EXPIRED:
            lines.append('not-after = "2025-01-01T00:00:00Z"')
        if n == aliro_rdr.EARLY:
            lines.append('not-before = "2099-01-01T00:00:00Z"')
    text = "\n".join(lines) + "\n"
    if profile == "stuck":
        text = text.replace("[door]\n", '[door]\nrun = ["/nonexistent/door"]\n', 1)
    return write(folder, "lock", profile, text)


class Phones:
    """`tapdoor phone` in one configuration after the other."""

    def __init__(self, o):
        self.o, self.child = o, None

    def start(self, profile):
        config = phone_toml(self.o.site, profile)

        def again():
            self.stop(kill=True)
            self.child = aliro_binary.Phone(lambda address: [self.o.tapdoor, "--json", "phone", "--config", config, "--serve",
                                                             "vpcd:" + address],
                                            os.path.join(self.o.site, "aliro-phone-%s.err" % profile))
        again()

        def crash(command, seconds):
            self.child.hand_over(command)
            time.sleep(seconds)
            again()
        return aliro_ud.PhoneUnderTest(SITE, lambda c: self.child.send(c), lambda: self.child.reset(), again, crash)

    def stop(self, kill=False):
        if self.child is not None:
            self.child.stop(kill)
        self.child = None


class Locks(Phones):
    """`tapdoor lock` in one configuration after the other."""

    def start(self, profile):
        def again(revoked=None):
            self.stop(kill=True)
            config = lock_toml(self.o.site, profile, revoked)
            self.child = aliro_binary.Lock([self.o.tapdoor, "--json", "lock", "--config", config, "--reader", "vpcd-listen:127.0.0.1:0",
                                            "--method", "aliro", "--count", "100000"],
                                           os.path.join(self.o.site, "aliro-lock-%s.err" % profile))
        again()
        lock = aliro_rdr.LockUnderTest(SITE, lambda device: self.child.tap(device), again, lambda: self.child.process.kill(),
                                       lambda on: self.child.full(on), "cert" in profile)
        lock.moves = profile != "stuck"
        return lock


def run(cases, programs, only):
    failed = 0
    for profile in dict.fromkeys(case.profile for case in cases):
        context = None
        for case in cases:
            if case.profile != profile or (only and not any(word in case.name for word in only)):
                continue
            try:
                context = context or programs.start(profile)
                why = verdict(case, context)
            except (OSError, KeyError) as e:
                why = str(e)
            if why:
                failed += 1
                if programs.child is not None and not programs.child.alive():
                    why += "; it ended: %s" % programs.child.last_words()
                programs.stop()                           # a clean start for the next one
                context = None
            print("not ok %s - %s" % (case.name, " ".join(why.split())) if why else "ok %s" % case.name, flush=True)
        programs.stop()
    return failed


def values(folder):
    """Assignments for a shell. Laboratory use only: it prints keys."""
    group, key = SITE.groups[0]
    for name, value in (("PHONE_TOML", phone_toml(folder, "plain")), ("LOCK_TOML", lock_toml(folder, "plain")),
                        ("EXTENDED_PHONE_TOML", phone_toml(folder, "extended")),
                        ("CERTIFIED_LOCK_TOML", lock_toml(folder, "auth1-cert-long")),
                        ("GROUP", group), ("SUB", SITE.sub), ("READER_KEY", a.scalar(key)), ("READER_PUBLIC", a.public(key)),
                        ("CREDENTIAL", a.scalar(SITE.credential)), ("CREDENTIAL_PUBLIC", a.public(SITE.credential)),
                        ("CERTIFIED", SITE.certified), ("CERTIFIED_KEY", a.scalar(SITE.certified_key)), ("CERTIFICATE", SITE.long),
                        ("ISSUER", a.public(SITE.issuer))):
        print("%s=%s" % (name, value.hex() if isinstance(value, bytes) else value))
    made, ours = toml(folder, "lock")["aliro"], toml(folder, "phone")["aliro"]          # those of `tapdoor init`
    for name, value in (("INIT_GROUP", made["group"]), ("INIT_SUB", made["sub"]), ("INIT_KEY", made["key"]),
                        ("INIT_PUBLIC", ours["groups"][0]["key"]), ("INIT_CREDENTIAL", ours["credentials"][0]["key"]),
                        ("INIT_CREDENTIAL_PUBLIC", made["credentials"][0]["key"])):
        print("%s=%s" % (name, value))
    return 0


def toml(folder, name):
    with open(os.path.join(folder, name + ".toml"), "rb") as f:
        return tomllib.load(f)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("side", choices=("phone", "lock", "values"), help="which of ours is under test; values: what a shell needs")
    p.add_argument("--tapdoor", metavar="PROGRAM")
    p.add_argument("--site", required=True, metavar="DIR", help="a folder of `tapdoor init`; configurations are added there")
    p.add_argument("--only", action="append", metavar="WORD", help="only cases whose name has this in it")
    o = p.parse_args()
    if o.side == "values":
        return values(o.site)
    failed = run(UD, Phones(o), o.only) if o.side == "phone" else run(RDR, Locks(o), o.only)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
