#!/usr/bin/python3
"""The Aliro checklist against the real programs: `tapdoor phone` before our reader, our user devices before `tapdoor lock`.

Written from public descriptions of Aliro 1.0 and from docs/aliro.md (the configuration) alone. One process for each configuration.
Prints `ok NAME` or `not ok NAME - why` for every case; exit status 0 when all held.
"""
import argparse
import os
import re
import sys

import aliro_binary
import aliro_crypto as a
import aliro_rdr
import aliro_ud
from aliro_cases import SITE
from aliro_checklist import RDR, UD, verdict

PHONE = {"plain": ("", ""), "descriptor": ('descriptor = "0403010203"', ""), "extended": ("extended-length = [275, 275]", ""),
         "read-only": ("", "mailbox-writable = false"), "no-mailbox": ("", "mailbox = 0")}


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
             'key = "%s"' % a.scalar(SITE.credential).hex(), credential]
    for group, (key, _) in SITE.device_groups().items():
        lines += ["[[aliro.groups]]", 'id = "%s"' % group.hex(), 'key = "%s"' % key.hex()]
    return write(folder, "phone", profile, "\n".join(lines) + "\n")


def lock_toml(folder, profile):
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
        lines.append('mailbox = ["read 0 8", "write 16 aabb"]')
    for n, credential in enumerate(aliro_rdr.credentials(SITE)):
        lines += ["[[aliro.credentials]]", 'id = "%016x"' % (0xA11 + n), 'key = "%s"' % a.public(credential).hex()]
    return write(folder, "lock", profile, "\n".join(lines) + "\n")


class Phones:
    """`tapdoor phone` in one configuration after the other."""

    def __init__(self, o):
        self.o = o

    def start(self, profile):
        config = phone_toml(self.o.site, profile)
        child = aliro_binary.Phone(lambda address: [self.o.tapdoor, "--json", "phone", "--config", config, "--serve", "vpcd:" + address],
                                   os.path.join(self.o.site, "aliro-phone-%s.err" % profile))
        return child, aliro_ud.PhoneUnderTest(SITE, child.send, child.reset)


class Locks:
    def __init__(self, o):
        self.o = o

    def start(self, profile):
        config = lock_toml(self.o.site, profile)
        child = aliro_binary.Lock([self.o.tapdoor, "--json", "lock", "--config", config, "--reader", "vpcd-listen:127.0.0.1:0",
                                   "--method", "aliro", "--count", "100000"], os.path.join(self.o.site, "aliro-lock-%s.err" % profile))
        return child, aliro_rdr.LockUnderTest(SITE, child.tap, "cert" in profile)


def run(cases, programs, only):
    failed = 0
    for profile in dict.fromkeys(case.profile for case in cases):
        mine = [case for case in cases if case.profile == profile and (not only or any(word in case.name for word in only))]
        child, context = None, None
        for case in mine:
            try:
                if child is None:
                    child, context = programs.start(profile)
                why = verdict(case, context)
            except (OSError, KeyError) as e:
                why = str(e)
            if why:
                failed += 1
                if child is not None and not child.alive():
                    why += "; it ended: %s" % child.last_words()
                if child is not None:                     # a clean start for the next one
                    child.stop()
                child = None
            print("not ok %s - %s" % (case.name, " ".join(why.split())) if why else "ok %s" % case.name, flush=True)
        if child is not None:
            child.stop()
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("side", choices=("phone", "lock"), help="which of ours is under test")
    p.add_argument("--tapdoor", required=True, metavar="PROGRAM")
    p.add_argument("--site", required=True, metavar="DIR", help="a folder of `tapdoor init`; configurations are added there")
    p.add_argument("only", nargs="*", metavar="WORD", help="only cases whose name has this in it")
    o = p.parse_args()
    failed = run(UD, Phones(o), o.only) if o.side == "phone" else run(RDR, Locks(o), o.only)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
