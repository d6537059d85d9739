#!/usr/bin/env bash
# AKA profile U: a Python USIM card at our lock, and our phone's USIM at a Python host, through pcscd.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
in_private_pcscd "$@"
make_site --usim

value() { grep -Eo "\"$2\": \"?[0-9a-f]+" <<<"$1" | grep -Eo '[0-9a-f]+$'; } # LINE FIELD, as the peers print it
wrong_k=$(printf '5a%.0s' {1..16})

# --- a Python USIM at our lock ---------------------------------------------------------------------------------------

sim=(--k "$USIM_K" --opc "$USIM_OPC" --imsi "$IMSI" --iccid "$ICCID")
card_at_our_lock() { at_our_lock usim_card.py --taps 1 "$@"; }
usim=(-- --once --method usim)
ind=$((16#${LOCK_ID: -2} % 32))

opened() {
    [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=null method=aka "phone=$USIM_MASKED" "$@" || return 1
    has "$(last card authenticated)" "ind=$ind" || return 1
    # A USIM does not know CONTROL FLOW.
    if grep -q '"ins": "3c"' "$WORK/card.log"; then cat "$WORK/card.log" && return 1; fi
}
refused() { [ "$STATUS" = 1 ] && has "$TAP" verdict=refused "reason=$1" "${@:2}" && [ -z "$(last card authenticated)" ]; }
commands() { grep -c "\"ins\": \"$1\"" "$WORK/card.log"; }

card_at_our_lock "${sim[@]}" "${usim[@]}"
check 'Python USIM, our lock: opens in 4 APDUs' opened apdus=4
first=$(value "$(last card authenticated)" seq)
at_our_lock usim_card.py --taps 2 "${sim[@]}" -- --count 2 --method usim
rising() { opened apdus=4 && [ "$(events lock tap)" = 2 ] && [ "$(events card authenticated)" = 2 ] && [ "$(value "$(last card authenticated)" seq)" -ge $((first + 2)) ]; }
check 'Python USIM, our lock: two taps more, SEQ rises across processes' rising
card_at_our_lock "${sim[@]}" --t0-style "${usim[@]}"
check 'Python USIM as over T=0 (61xx, 6Cxx), our lock: opens' opened 'apdus>4'
card_at_our_lock "${sim[@]}" --no-partial-select "${usim[@]}"
by_dir() { opened 'apdus>4' && [ "$(commands b2)" -ge 2 ]; }
check 'Python USIM without SELECT by partial AID, our lock: finds it in EF.DIR and opens' by_dir
card_at_our_lock "${sim[@]}" --no-partial-select --t0-style "${usim[@]}"
check 'Python USIM without SELECT by partial AID, as over T=0, our lock: opens' by_dir
card_at_our_lock "${sim[@]}" -- --once
check 'Python USIM, our lock with every method: opens' opened

variant lock-ahead lock.toml
export CONFIG=$SITE/lock-ahead.toml
resynchronised() { opened apdus=5 && [ "$(events card sequence-failure)" = 1 ] && [ "$(value "$(last card authenticated)" seq)" -gt "$1" ]; }
card_at_our_lock "${sim[@]}" --seq 100000000 "${usim[@]}"
check 'Python USIM ahead, our lock: resynchronises and opens' resynchronised 100000000
card_at_our_lock "${sim[@]}" --seq 100000000 "${usim[@]}"
steady() { opened apdus=4 && [ "$(events card sequence-failure)" = 0 ]; }
check 'Python USIM ahead, our lock: the next tap needs no resynchronisation' steady
card_at_our_lock "${sim[@]}" --seq 1000000000 --t0-style "${usim[@]}"
far() { opened && [ "$(events card sequence-failure)" = 1 ]; }
check 'Python USIM far ahead, as over T=0, our lock: resynchronises and opens' far
card_at_our_lock "${sim[@]}" --seq 1000 "${usim[@]}"
down() { resynchronised 1000 && has "$(last card authenticated)" 'seq<=1100'; }
check 'Python USIM far behind, our lock: resynchronises downwards and opens' down
unset CONFIG

card_at_our_lock --k "$wrong_k" "${sim[@]:2}" "${usim[@]}"
wrong_mac() { refused wrong-key "phone=$USIM_MASKED" apdus=4 && [ "$(events card wrong-mac)" = 1 ]; }
check 'Python USIM with another K, our lock (9862)' wrong_mac
card_at_our_lock "${sim[@]}" --imsi 001019999999999 "${usim[@]}"
stranger() { refused unknown-phone phone=null && [ "$(commands 88)" = 0 ]; }
check 'Python USIM with an IMSI that is not listed, our lock: it is not challenged' stranger
variant lock-pin lock.toml 's/^\[\[usim.subscribers\]\]/[usim]\npin = "1234"\n\n&/'
CONFIG=$SITE/lock-pin.toml card_at_our_lock "${sim[@]}" --pin 1234 "${usim[@]}"
check 'Python USIM with a PIN that our lock has: opens' opened apdus=5
CONFIG=$SITE/lock-pin.toml card_at_our_lock "${sim[@]}" --pin 9999 "${usim[@]}"
once() { refused card-error && has "$(last card wrong-pin)" tries=2 && [ "$(commands 20)" = 1 ]; }
check 'Python USIM with another PIN: our lock tries once only' once
card_at_our_lock "${sim[@]}" --pin 1234 "${usim[@]}"
check 'Python USIM with a PIN that our lock has not: EF_IMSI is 6982' refused policy
at_our_lock cr_phone.py --taps 1 --phone-id "$PHONE_ID" --k-ph "$K_PH" "${usim[@]}"
none() { [ "$STATUS" = 1 ] && has "$TAP" verdict=refused reason=app-missing phone=null; }
check 'Python phone without a USIM, our lock' none

# --- our phone's USIM at a Python host -------------------------------------------------------------------------------

host=(usim_host.py --k "$USIM_K" --opc "$USIM_OPC")
opens() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=opened "phone=$IMSI" res_match=true ck_match=true ik_match=true "$@"; }
fails() { [ "$STATUS" = 1 ] && has "$TAP" verdict=refused "reason=$1" "${@:2}"; }

our_phone
at_our_phone "${host[@]}" --state "$WORK/host.state"
check 'our USIM, Python host: opens in 4 APDUs; RES, CK and IK are right' opens apdus=4
at_our_phone "${host[@]}" --state "$WORK/host.state"
check 'our USIM, Python host: the next tap too' opens apdus=4
at_our_phone "${host[@]}" --state "$WORK/other.state" --lock-number 7
check 'our USIM, Python host with another IND' opens apdus=4
at_our_phone usim_host.py --k "$wrong_k" --opc "$USIM_OPC" --state "$WORK/wrong.state"
check 'our USIM, Python host with another K (9862)' fails wrong-key apdus=4 "phone=$IMSI"
printf '{"%s": {"dif": 100000000, "last": 0}}' "$IMSI" >"$WORK/fast.state"
at_our_phone "${host[@]}" --state "$WORK/fast.state"
check 'our USIM, Python host with a fast clock' opens apdus=4
our_phone
at_our_phone "${host[@]}" --state "$WORK/anew.state"
check 'our USIM ahead, started anew, Python host: resynchronises and opens' opens apdus=5 'resynchronised_to>=100000000'
at_our_phone "${host[@]}" --state "$WORK/anew.state"
check 'our USIM ahead, Python host: the next tap needs no resynchronisation' opens apdus=4
printf '{"%s": {"dif": 900000000, "last": 0}}' "$IMSI" >"$WORK/far.state"
at_our_phone "${host[@]}" --state "$WORK/far.state"
check 'our USIM, Python host too far ahead: resynchronises downwards and opens' opens apdus=5

variant phone-pin phone.toml 's/^opc = .*/&\npin = "1234"/'
CONFIG=$SITE/phone-pin.toml our_phone
at_our_phone "${host[@]}" --pin 1234 --state "$WORK/pin.state"
check 'our USIM with a PIN, Python host that has it' opens apdus=5
at_our_phone "${host[@]}"
check 'our USIM with a PIN, Python host that has none' fails card-error
at_our_phone "${host[@]}" --pin 9999
check 'our USIM with a PIN, Python host with another one' fails card-error apdus=2
at_our_phone "${host[@]}" --pin 1234 --state "$WORK/pin.state"
check 'our USIM with a PIN: one wrong try does not block it' opens apdus=5
for _ in 1 2 3; do at_our_phone "${host[@]}" --pin 9999; done
at_our_phone "${host[@]}" --pin 1234 --state "$WORK/pin.state"
check 'our USIM with a PIN: three wrong tries do' fails card-error apdus=2
CONFIG=$SITE/phone-pin.toml our_phone
at_our_phone "${host[@]}" --pin 1234 --state "$WORK/pin.state"
check 'our USIM with a PIN: it stays blocked when the phone is started anew' fails card-error apdus=2
variant phone-kc phone.toml 's/^opc = .*/&\nkc = true/'
CONFIG=$SITE/phone-kc.toml our_phone
at_our_phone "${host[@]}"
check 'our USIM that gives Kc too, Python host' opens apdus=4
