#!/usr/bin/python3
"""What the peers need to know of a folder that `tapdoor init` made, derived anew from its site key.

Written from docs/protocol.md alone (section 1). Prints assignments for a shell; --check compares instead every key in
lock.toml and phone.toml with the page's derivation. Laboratory use only: it prints keys.
"""
import argparse
import os
import sys
import tomllib

import door_crypto as d


def read(folder, name):
    with open(os.path.join(folder, name), "rb") as f:
        return tomllib.load(f)


def phone_toml(folder, phone):
    return read(folder, "phone.toml" if phone == 1 else "phone-%d.toml" % phone)


def values(folder, phone):
    server = read(folder, "server.toml")
    site, lock_id = bytes.fromhex(server["site-key"]), bytes.fromhex(server["locks"][0]["id"])
    phone_id = bytes.fromhex(server["phones"][phone - 1]["id"])
    k_ph = d.k_ph(site, phone_id)
    out = {"LOCK_ID": lock_id.hex(), "PHONE_ID": phone_id.hex(), "K_PH": k_ph.hex(),
           "MASKED": ".." + phone_id.hex()[-4:]}
    usim = phone_toml(folder, phone).get("usim")
    if usim:
        subscriber = read(folder, "lock.toml")["usim"]["subscribers"][0]
        out.update(IMSI=usim["imsi"], ICCID=usim["iccid"], USIM_K=usim["k"], USIM_OPC=usim["opc"],
                   USIM_MASKED=".." + subscriber["id"][-4:])
    return out


def problems(folder):
    server, lock = read(folder, "server.toml"), read(folder, "lock.toml")
    site, lock_id = bytes.fromhex(server["site-key"]), bytes.fromhex(lock["id"])
    if lock["id"] != server["locks"][0]["id"]:
        yield "lock.toml and server.toml name different locks"
    if [p["id"] for p in lock["phones"]] != [p["id"] for p in server["phones"]]:
        yield "lock.toml and server.toml name different phones"
    for n, entry in enumerate(lock["phones"], 1):
        phone_id = bytes.fromhex(entry["id"])
        k_ph = d.k_ph(site, phone_id)
        phone = phone_toml(folder, n)
        for where, table, key, want in (("phone", phone, "id", phone_id), ("phone", phone, "k-ph", k_ph),
                                        ("phone", phone["identity"], "k-agent", d.kdf(site, "AGENT", phone_id, 128)),
                                        ("lock", entry, "k-id", d.k_id(k_ph)), ("lock", entry, "k-l", d.k_l(k_ph, lock_id)),
                                        ("lock", entry, "milenage", d.k_milenage(k_ph, lock_id)),
                                        ("lock", entry, "tuak", d.k_tuak(k_ph, lock_id))):
            if table[key] != want.hex():
                yield "%s of phone %d in %s.toml is not what the page derives" % (key, n, where)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder")
    p.add_argument("--phone", type=int, default=1, metavar="N", help="which of the site's phones, from 1")
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    if a.check:
        found = list(problems(a.folder))
        print("\n".join(found) or "as the page says")
        return 1 if found else 0
    for name, value in values(a.folder, a.phone).items():
        print("%s=%s" % (name, value))
    return 0


if __name__ == "__main__":
    sys.exit(main())
