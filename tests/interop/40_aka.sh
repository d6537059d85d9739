#!/usr/bin/env bash
# AKA profile P with MILENAGE and TUAK: a Python phone at our lock, and our phone at a Python lock, through pcscd.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers
in_private_pcscd "$@"
make_site

me=(--phone-id "$PHONE_ID" --k-ph "$K_PH")
keys=(--lock-id "$LOCK_ID" "${me[@]}")
stranger=$(printf '5a%.0s' {1..16})
aka=(-- --once --method aka)
phone_at_our_lock() { at_our_lock aka_phone.py --trace --taps 1 "$@"; }
value() { grep -Eo "\"$2\": \"?-?[0-9a-f]+" <<<"$1" | grep -Eo '[0-9a-f]+$'; } # LINE FIELD, as the peers print it

# --- a Python phone at our lock --------------------------------------------------------------------------------------

opened() { # APDUS
    [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=null method=aka "phone=$MASKED" "apdus=$1" &&
        has "$(last card control-flow)" reason=opened sealed=true && has "$(last card authenticated)" "lock=$LOCK_ID" "algorithm=$algorithm"
}
refused_at_our_lock() { # REASON APDUS sealed|plain|none|deaf CONDITION...
    local reason=$1 apdus=$2 flow=$3
    shift 3
    [ "$STATUS" = 1 ] || { echo "status $STATUS: $TAP" && return 1; }
    has "$TAP" verdict=refused "reason=$reason" "apdus=$apdus" "$@" || return 1
    case $flow in
    plain) has "$(last card control-flow)" "reason=$reason" sealed=false ;;
    none) card_got "$apdus" ;;
    esac
}

for algorithm in milenage tuak; do
    case=${algorithm^^}
    export CONFIG=$SITE/lock-$algorithm.toml
    variant "lock-$algorithm" lock.toml "s/^algorithm = .*/algorithm = \"$algorithm\"/"

    rm -f "$WORK/phone.state"
    phone_at_our_lock "${me[@]}" --state "$WORK/phone.state" "${aka[@]}"
    check "$case, Python phone, our lock: opens, sealed CONTROL FLOW is understood" opened 2
    traffic=$(last card traffic)
    check "$case, Python phone, our lock: exactly 2 APDUs" has "$traffic" apdus=2
    echo "# $case: $traffic"
    first=$(value "$(last card authenticated)" seq)
    at_our_lock aka_phone.py --trace --taps 2 "${me[@]}" --state "$WORK/phone.state" -- --count 2 --method aka
    rising() { opened 2 && [ "$(events lock tap)" = 2 ] && [ "$(events card authenticated)" = 2 ] && [ "$(value "$(last card authenticated)" seq)" -ge $((first + 2)) ]; }
    check "$case, Python phone, our lock: two taps more, SEQ rises across processes" rising

    # The lock's clock is behind the phone: it is told where the phone is, and remembers.
    rm -f "$WORK/ahead.state"
    phone_at_our_lock "${me[@]}" --ahead 100000 --state "$WORK/ahead.state" "${aka[@]}"
    ahead() { opened 3 && [ "$(events card sequence-failure)" = 1 ] && [ "$(value "$(last card authenticated)" seq)" -gt "$(value "$(last card sequence-failure)" seq_ms)" ]; }
    check "$case, Python phone ahead, our lock: resynchronises and opens" ahead
    phone_at_our_lock "${me[@]}" --ahead 100000 --state "$WORK/ahead.state" "${aka[@]}"
    steady() { opened 2 && [ "$(events card sequence-failure)" = 0 ]; }
    check "$case, Python phone ahead, our lock: the next tap needs no resynchronisation" steady
    phone_at_our_lock "${me[@]}" --ahead 400000000 "${aka[@]}"
    check "$case, Python phone far ahead, our lock: resynchronises and opens" ahead
    # Now the lock is more than 2^28 above what a new phone accepts, and has to come down.
    phone_at_our_lock "${me[@]}" "${aka[@]}"
    behind() { ahead && has "$(last card sequence-failure)" seq_ms=0 && has "$(last card authenticated)" 'seq<=100'; }
    check "$case, Python phone far behind, our lock: resynchronises downwards and opens" behind
    phone_at_our_lock "${me[@]}" --stubborn "${aka[@]}"
    check "$case, Python phone, our lock: a second sequence failure" refused_at_our_lock resync-failed 3 plain "phone=$MASKED"

    variant "lock-$algorithm-anew" "lock-$algorithm.toml"
    CONFIG=$SITE/lock-$algorithm-anew.toml
    phone_at_our_lock "${me[@]}" --wrong-key "${aka[@]}"
    wrong_mac() { refused_at_our_lock wrong-key 2 plain "phone=$MASKED" && [ "$(events card wrong-mac)" = 1 ]; }
    check "$case, Python phone, our lock: wrong key" wrong_mac
    phone_at_our_lock --phone-id "$PHONE_ID" --k-ph "$stranger" "${aka[@]}"
    check "$case, Python phone, our lock: unknown phone, and nothing more is sent" refused_at_our_lock unknown-phone 1 none phone=null
    for answer in "db08$(printf '00%.0s' {1..8})9000" "dc1e$(printf '77%.0s' {1..30})9000"; do
        phone_at_our_lock "${me[@]}" --authenticate-answer "$answer" "${aka[@]}"
        check "$case, Python phone, our lock: ${answer:0:4} with rubbish" refused_at_our_lock wrong-key 2 plain "phone=$MASKED"
    done
    for answer in "db07$(printf '00%.0s' {1..7})9000" "dc0e$(printf '77%.0s' {1..14})9000" 9000 6a80; do
        phone_at_our_lock "${me[@]}" --authenticate-answer "$answer" "${aka[@]}"
        check "$case, Python phone, our lock: AUTHENTICATE answered $answer" refused_at_our_lock card-error 2 plain "phone=$MASKED"
    done
    at_our_lock aka_phone.py --trace --taps 2 "${me[@]}" --rp "$stranger" -- --count 2 --method aka
    replayed() {
        [ "$STATUS" = 1 ] && has "$(grep '"event":"tap"' "$WORK/lock.log" | head -n 1)" verdict=open &&
            has "$TAP" verdict=refused reason=replay apdus=1 "phone=$MASKED" && [ "$(events card authenticated)" = 1 ]
    }
    check "$case, Python phone, our lock: an RP used before is a replay, and nothing more is sent" replayed
done

export CONFIG=$SITE/lock-tuak-anew.toml
phone_at_our_lock "${me[@]}" --algorithms milenage "${aka[@]}"
no_tuak() { # The page leaves open whether that is the card's error or, as a reason to go on with another method, policy.
    [ "$STATUS" = 1 ] && has "$TAP" verdict=refused 'reason~^(policy|card-error)$' apdus=2 "phone=$MASKED" &&
        has "$(last card control-flow)" sealed=false "reason=$(grep -Eo '"reason":"[a-z-]+' <<<"$TAP" | cut -d '"' -f 4)"
}
check 'Python phone without TUAK, our lock (6984)' no_tuak
algorithm=milenage
variant lock-strict lock.toml 's/^weakest = .*/weakest = "aka"/'
CONFIG=$SITE/lock-strict.toml phone_at_our_lock "${me[@]}" "${aka[@]}"
check 'Python phone, our lock: AKA is as strong as the entry asks' opened 2
CONFIG=$SITE/lock-strict.toml phone_at_our_lock "${me[@]}" -- --once
check 'Python phone with AKA only, our lock with every method' opened 3
variant lock-aliro lock.toml 's/^weakest = .*/weakest = "aliro"/'
CONFIG=$SITE/lock-aliro.toml phone_at_our_lock "${me[@]}" "${aka[@]}"
check 'Python phone, our lock: weaker than the entry allows' refused_at_our_lock policy 1 plain "phone=$MASKED"
variant lock-user lock.toml 's/^weakest = .*/&\nrequire-user-authentication = true/'
CONFIG=$SITE/lock-user.toml phone_at_our_lock "${me[@]}" "${aka[@]}"
check 'Python phone, our lock: user authentication is required, which AKA cannot tell' refused_at_our_lock policy 1 plain "phone=$MASKED"
variant lock-ended lock.toml 's/^# not-after = .*/not-after = "2025-01-01T00:00:00Z"/'
CONFIG=$SITE/lock-ended.toml phone_at_our_lock "${me[@]}" "${aka[@]}"
check 'Python phone, our lock: the entry has ended' refused_at_our_lock not-entitled 1 plain "phone=$MASKED"
unset CONFIG

# --- our phone at a Python lock --------------------------------------------------------------------------------------

opens() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=opened "phone=$PHONE_ID" "apdus=$1" sealed=true control_flow=9000 "${@:2}"; }
refused() { [ "$STATUS" = 1 ] && has "$TAP" verdict=refused "reason=$1" "apdus=$2" "${@:3}"; }
hears() { # COUNT VERDICT REASON
    local line
    line=$(wait_event phone verdict "$1") && has "$line" "verdict=$2" "reason=$3"
}
now=$(($(date +%s) - 1735689600)) # GLC of section 5

for algorithm in milenage tuak; do
    case=${algorithm^^}
    lock=(aka_lock.py "${keys[@]}" --algorithm "$algorithm")
    variant "phone-$algorithm" phone.toml
    export CONFIG=$SITE/phone-$algorithm.toml
    rm -f "$WORK"/*.state
    our_phone
    at_our_phone "${lock[@]}" --state "$WORK/lock.state"
    check "$case, our phone, Python lock: opens in exactly 2 APDUs, sealed CONTROL FLOW is understood" opens 2
    check "$case, our phone, Python lock: our phone believes it" hears 1 open null
    learns() { has "$(wait_event phone authenticated)" "lock=$LOCK_ID" aid=f0544150444f4f5202 clock=null; }
    check "$case, our phone, Python lock: our phone learns which lock" learns
    echo "# $case: $(value "$TAP" bytes) bytes"
    first=$(value "$TAP" seq)
    at_our_phone "${lock[@]}" --state "$WORK/lock.state"
    rising() { opens 2 "seq>$first"; }
    check "$case, our phone, Python lock: the next tap opens with a higher SEQ" rising

    # A lock whose clock runs fast brings the phone ahead; then comes the same lock with a right clock and no memory.
    printf '{"%s": {"dif": 100000, "last": 0}}' "$PHONE_ID" >"$WORK/fast.state"
    at_our_phone "${lock[@]}" --state "$WORK/fast.state"
    fast() { opens 2 "seq>=$((now + 100000))"; }
    check "$case, our phone, Python lock with a fast clock: opens" fast
    top=$(value "$TAP" seq)
    our_phone
    at_our_phone "${lock[@]}" --state "$WORK/anew.state"
    back() { opens 3 "resynchronised_to=$top" "seq>$top"; }
    check "$case, our phone ahead, started anew, Python lock: resynchronises and opens" back
    at_our_phone "${lock[@]}" --state "$WORK/anew.state"
    check "$case, our phone ahead, Python lock: the next tap needs no resynchronisation" opens 2
    # More than 2^28 above what the phone accepts: refused by the phone, and the lock comes down.
    top=$(value "$TAP" seq)
    printf '{"%s": {"dif": 500000000, "last": 0}}' "$PHONE_ID" >"$WORK/far.state"
    at_our_phone "${lock[@]}" --state "$WORK/far.state"
    down() { opens 3 "resynchronised_to=$top" "seq<=$((top + 100))"; }
    check "$case, our phone, Python lock too far ahead: resynchronises downwards and opens" down
    at_our_phone aka_lock.py --lock-id 0102030405060708 "${me[@]}" --algorithm "$algorithm"
    check "$case, our phone, Python lock: another lock of the site has its own SEQ" opens 2

    our_phone
    at_our_phone "${lock[@]}" --wrong-key
    check "$case, our phone, Python lock: wrong key of the lock" refused wrong-key 2 "phone=$PHONE_ID" control_flow=9000 sealed=false
    check "$case, our phone, Python lock: our phone is told" hears 1 refused wrong-key
    at_our_phone "${lock[@]}" --require-user
    check "$case, our phone, Python lock: user authentication is required, which AKA cannot tell" refused policy 1 control_flow=9000
    check "$case, our phone, Python lock: our phone is told that too" hears 2 refused policy
    at_our_phone "${lock[@]}" --weakest 3
    check "$case, our phone, Python lock: weaker than the entry allows" refused policy 1 control_flow=9000
    at_our_phone "${lock[@]}" --not-after 1735689600
    check "$case, our phone, Python lock: the entry has ended" refused not-entitled 1 control_flow=9000
    at_our_phone aka_lock.py --lock-id "$LOCK_ID" --phone-id "$PHONE_ID" --k-ph "$stranger" --algorithm "$algorithm"
    check "$case, our phone, Python lock: unknown phone" refused unknown-phone 1 phone=null control_flow=null
    at_our_phone "${lock[@]}" --state "$WORK/far.state"
    check "$case, our phone, Python lock: opens after all those" opens 2
    our_phone --lab wrong-key
    at_our_phone "${lock[@]}"
    check "$case, our phone with a wrong key, Python lock" refused wrong-key 2 "phone=$PHONE_ID" control_flow=9000
    our_phone --lab missing=aka
    at_our_phone "${lock[@]}"
    check "$case, our phone without the application, Python lock" refused app-missing 1 control_flow=null
done
