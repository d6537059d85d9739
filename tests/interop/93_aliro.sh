#!/usr/bin/env bash
# Aliro 1.0: the certification tool's checklist and more of its kind, by counterparts in Python, against our phone and our lock.
# The cases are those of tests/peers/aliro_ud*.py and aliro_rdr*.py; they speak vpcd's framing, without pcscd. Some go through pcscd.
# Not in here: the step-up cases, and older numbers of the tool of which no more than the number is known.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
in_private_pcscd "$@"

check 'Aliro counterparts: recorded transactions' peer aliro_vectors.py
check 'Aliro counterparts: every case among themselves, and each fails where it must' peer aliro_pair.py

make_site
peer aliro_check.py phone --tapdoor "$TAPDOOR" --site "$SITE"
peer aliro_check.py lock --tapdoor "$TAPDOOR" --site "$SITE"
cat "$SITE"/aliro-*.err >&2
peer aliro_provision.py --tapdoor "$TAPDOOR" --site "$SITE" --work "$WORK/provision"

# --- through pcscd ---------------------------------------------------------------------------------------------------

while read -r line; do declare -g "$line"; done < <(peer aliro_check.py values --site "$SITE")
opened() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open "$@"; }
commands() { # INS...: what a card was sent, in that order, chained commands counted once
    local got
    got=$(grep -Eo '"c": "[08]0(a4|8[01]|d1|c9|3c)' "$WORK/$1.log" | grep -Eo '..$' | tr '\n' ' ')
    [ "$got" = "${*:2} " ] || { echo "$got" && return 1; }
}

them=(--credential "$CREDENTIAL")
CONFIG=$LOCK_TOML at_our_lock aliro_device.py --group "$GROUP" "$READER_PUBLIC" "${them[@]}" --taps 2 -- --count 2 --method aliro
check 'Python phone, our lock, pcscd: opens twice' opened method=aliro apdus=3
check 'Python phone, our lock, pcscd: STANDARD, then FAST' commands card a4 80 81 c9 a4 80 c9
CONFIG=$CERTIFIED_LOCK_TOML at_our_lock aliro_device.py --group "$CERTIFIED" "$ISSUER" "${them[@]}" --taps 1 -- --once --method aliro
check 'Python phone, our lock, pcscd: a certificate in AUTH1, chained' opened method=aliro
at_our_lock aliro_device.py --group "$INIT_GROUP" "$INIT_PUBLIC" --credential "$INIT_CREDENTIAL" --taps 1 -- --once --method aliro
check 'Python phone, our lock, pcscd: as tapdoor init made it' opened method=aliro

CONFIG=$PHONE_TOML our_phone
us=(--key "$READER_KEY" --identifier "$GROUP$SUB" --credential "$CREDENTIAL_PUBLIC")
at_our_phone aliro_lock.py "${us[@]}" --taps 2
check 'our phone, Python lock, pcscd: STANDARD, then FAST' opened "credential=$CREDENTIAL_PUBLIC"
group_17=(--key "$CERTIFIED_KEY" --identifier "$CERTIFIED$SUB" --credential "$CREDENTIAL_PUBLIC" --issuer "$ISSUER" --certificate "$CERTIFICATE")
at_our_phone aliro_lock.py "${group_17[@]}"
check 'our phone, Python lock, pcscd: a certificate in LOAD CERT, chained' opened
CONFIG=$EXTENDED_PHONE_TOML our_phone
at_our_phone aliro_lock.py "${group_17[@]}" --in-auth1 --key-slot
check 'our phone, Python lock, pcscd: a certificate in AUTH1, and 7F66' opened
our_phone
at_our_phone aliro_lock.py --key "$INIT_KEY" --identifier "$INIT_GROUP$INIT_SUB" --credential "$INIT_CREDENTIAL_PUBLIC"
check 'our phone, Python lock, pcscd: as tapdoor init made it' opened
check 'our phone is well after all of it' phone_is_well
