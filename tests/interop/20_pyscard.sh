#!/usr/bin/env bash
# pyscard at a phone of ours: what SELECT and the card manager answer, and what a lock gets that breaks the rules.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
in_private_pcscd "$@"
make_site --phones 2 --usim

# each_check PREFIX PEER OPTION...: one case for every line that the peer prints.
each_check() {
    local prefix=$1 line name
    shift
    timeout --kill-after=5 60 "$PEER_PYTHON" "$PEERS/$1" --reader "$READER" "${@:2}" >"$WORK/peer.log" </dev/null
    local status=$?
    while read -r line; do
        name=$(sed -E 's/^\{"check": "([^"]*)".*/\1/' <<<"$line")
        if [[ $line == *'"ok": true'* ]]; then ok "$prefix: $name"; else not_ok "$prefix: $name" "$line"; fi
    done <"$WORK/peer.log"
    if [ "$status" -ne 0 ] && ! grep -q '"ok": false' "$WORK/peer.log"; then not_ok "$prefix" "ended with status $status"; fi
}

keys=(--lock-id "$LOCK_ID" --phone-id "$PHONE_ID" --k-ph "$K_PH")
our_phone
each_check select_check select_check.py --expect 01,02,0F
each_check 'bad lock, challenge-response' door_check.py "${keys[@]}"
each_check 'bad lock, MILENAGE' door_check.py "${keys[@]}" --method aka
each_check 'bad lock, TUAK' door_check.py "${keys[@]}" --method aka --algorithm tuak
check 'the phone is as it was after all this' phone_is_well

variant little phone-2.toml 's/^applications = .*/applications = ["challenge-response"]/'
CONFIG=$SITE/little.toml our_phone
each_check 'phone with one application' select_check.py --expect 01
