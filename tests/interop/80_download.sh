#!/usr/bin/env bash
# Server, phone and lock as three processes, lock and phone joined by pcscd: the application comes to the phone during the tap. curl at the
# API, an OpenAPI validator that is not ours at its document, strace at a lock that needs no server, kill -9 at every write to disk and
# to the network of each of the three in turn.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need_peers # to wait for the reader's state
need curl curl
need strace strace
in_private_pcscd "$@"

# site: a new one in $SITE, whose phone has its identity only.
site() {
    stop phone
    stop server
    [ -z "${SITE:-}" ] || rm -rf -- "$SITE"
    SITE=$WORK/site-$((++SITES))
    "$TAPDOOR" --quiet init --bare-phone "$SITE" >"$WORK/init.log" 2>&1 || not_ok 'tapdoor init' "$(tail -n 1 "$WORK/init.log")"
}
SITES=0

# server [PREFIX...]: it runs, at $URL; at the same address as before if there was one.
PORT=0
server() {
    start server "$@" "$TAPDOOR" --json server --config "$SITE/server.toml" --listen "127.0.0.1:$PORT"
    local ready
    ready=$(wait_event server ready) || return 1
    URL=$("$PEER_PYTHON" -c 'import json, sys; print(json.loads(sys.argv[1])["url"])' "$ready")
    PORT=${URL##*:}
}

phone() {
    start phone "$@" "$TAPDOOR" --json phone --config "$SITE/phone.toml" --serve "vpcd:127.0.0.1:$VPCD_PORT" --server "$URL"
    wait_event phone ready >/dev/null && reader_is present
}

# tap [PREFIX...]: `tapdoor lock --once`. Afterwards TAP and STATUS.
tap() {
    rm -f "$WORK/lock.log"
    timeout --kill-after=5 60 "$@" "$TAPDOOR" --json lock --config "$SITE/lock.toml" --reader "pcsc:$READER" --once --server "$URL" \
        >"$WORK/lock.log" 2>"$WORK/lock.err" </dev/null
    STATUS=$?
    TAP=$(last lock tap)
}
opens() { [ "$STATUS" = 0 ] && has "$TAP" verdict=open reason=null method=challenge-response; }
downloads() { opens && has "$TAP" downloaded=true; }
opens_at_once() { opens && has "$TAP" downloaded=false apdus=2; }
refused() { [ "$STATUS" = 1 ] && has "$TAP" verdict=refused "reason=$1" downloaded=false; }

# --- the tap with download ---------------------------------------------------------------------------------------------

site
server
check 'the server is ready' running server
phone
check 'the phone is ready' running phone
tap
check 'the phone has no application: it is downloaded, and the same tap opens' downloads
printf '# the tap with download: %s\n' "$(grep -o '"ms":{[^}]*}' <<<"$TAP")"
tap
check 'the next tap opens at once' opens_at_once

token=$(cat "$SITE/admin.token")
api() { curl --silent --show-error --max-time 10 --cacert "$SITE/ca.crt" "$@"; }
code() { [ "$(api --output /dev/null --write-out '%{http_code}' "${@:2}")" = "$1" ]; }
check 'curl: /healthz' code 200 "$URL/healthz"
check 'curl: status without the token is refused' code 401 "$URL/v1/status"
check 'curl: status with another token is refused' code 401 -H 'Authorization: Bearer 0123456789abcdef' "$URL/v1/status"
check 'curl: status' code 200 -H "Authorization: Bearer $token" "$URL/v1/status"
check 'curl: a body that is no JSON' code 400 -H 'Content-Type: application/json' -d '{"lock":' "$URL/v1/downloads"
check 'curl: another content type' code 415 -H 'Content-Type: text/plain' -d '{}' "$URL/v1/downloads"
head -c 300000 /dev/zero >"$WORK/zeros"
check 'curl: a body of 300,000 bytes' code 413 -H 'Expect: 100-continue' -H 'Content-Type: application/json' --data-binary "@$WORK/zeros" "$URL/v1/downloads"
check 'curl: no such route' code 404 "$URL/v2"
check 'curl: a client without our authority is turned away by TLS' not curl --silent --max-time 5 "$URL/healthz"
registered() { api -H "Authorization: Bearer $token" "$URL/v1/phones" | grep -q '"connected":true'; }
check 'curl: the phone is registered and its agent connected' registered
private() { ! api -H "Authorization: Bearer $token" "$URL/v1/phones" "$URL/v1/locks" "$URL/v1/jobs" | grep -Eiq 'chip_enc|"enc"|k_ph|site.key'; }
check 'curl: no key in any answer' private

if validator=$(python_with_openapi); then
    api "$URL/openapi.json" >"$WORK/openapi.json"
    check 'openapi-spec-validator: the OpenAPI document' "$validator" -m openapi_spec_validator "$WORK/openapi.json"
else
    skip 'openapi-spec-validator' 'not here: scripts/install-deps interop'
fi

# --- a lock that needs no server asks none ------------------------------------------------------------------------------

lonely() {
    tap strace -f -e trace=connect -o "$WORK/connects"
    opens_at_once && ! grep -q 'AF_INET' "$WORK/connects" && grep -q 'AF_UNIX' "$WORK/connects"
}
check 'strace: with the application there, the lock opens no connection to the server' lonely
stop server KILL
check 'strace: nor when the server is gone' lonely
site
server && phone
stop server KILL
tap
check 'neither application nor server: refused, with the reason' refused server-error
server
tap
check 'the server is back: the next tap downloads and opens' downloads
stop phone
stop server

# --- where the time of a download goes, and many at once -------------------------------------------------------------------

if "$TAPDOOR" bench download --phones 40 --rounds 2 >"$WORK/bench.log" 2>"$WORK/bench.err"; then
    ok 'bench download: 80 downloads to 40 phones, none lost, none doubled'
    sed 's/^/# /' "$WORK/bench.log"
else
    not_ok 'bench download' "$(tail -n 1 "$WORK/bench.log") $(tail -n 1 "$WORK/bench.err")"
fi

# --- kill -9 at every step of the download --------------------------------------------------------------------------------

# Writes to disk and to the network are where a process can die with something done that others do not know yet.
STEPS=fdatasync,fsync,sendto,sendmsg,writev
# -D: the program stays our child, and strace is the one in the background.
# record PROCESS: in $WORK/steps, all that the process makes from its start to the end of a tap with download.
record() {
    site
    case $1 in
    server) server strace -D -f -qq -e trace="$STEPS" -o "$WORK/steps" && phone && tap ;;
    phone) server && phone strace -D -f -qq -e trace="$STEPS" -o "$WORK/steps" && tap ;;
    lock) server && phone && tap strace -D -f -qq -e trace="$STEPS" -o "$WORK/steps" ;;
    esac
    stop phone
    stop server
}

# The phone's jobs are over. (A list entry may still wait for the lock, which comes only when a phone lacks something.)
settled() {
    local jobs id
    # The write that it was to die at may be the answer to this very question.
    running server || server || return 1
    id=$(sed -n 's/^id = "\(.*\)"/\1/p' "$SITE/phone.toml" | head -n 1)
    jobs=$(api -H "Authorization: Bearer $(cat "$SITE/admin.token")" "$URL/v1/jobs?phone=$id") || return 1
    ! grep -Eq '"state":"(queued|running)"' <<<"$jobs"
}

# killed_at PROCESS SYSCALL N: the process dies at the N-th of these calls; what died is started again; the next taps open.
killed_at() {
    local kill=(strace -D -f -qq -o /dev/null -e "trace=$2" -e "inject=$2:signal=KILL:when=$3") attempt
    site
    case $1 in
    server) server "${kill[@]}" ;;
    *) server ;;
    esac
    running server || server
    case $1 in
    phone) phone "${kill[@]}" ;;
    *) phone ;;
    esac
    running phone || phone || return 1
    case $1 in
    lock) tap "${kill[@]}" ;;
    *) tap ;;
    esac
    running server || server || return 1
    running phone || phone || return 1
    # A session that the server still holds for the dead one ends by itself or is replaced.
    for attempt in 1 2 3; do
        tap
        opens && break
    done
    opens || { echo "attempt $attempt: $TAP $(tail -n 1 "$WORK/lock.err")"; return 1; }
    tap
    opens_at_once || { echo "not installed for good: $TAP"; return 1; }
    # It may have died only now, after the taps.
    running server || server || return 1
    wait_for 10 settled || { echo 'a job is left over'; return 1; }
}

# So many places of each kind (TAPDOOR_KILLS=1000 for all).
KILLS=${TAPDOOR_KILLS:-3}
for process in server phone lock; do
    record "$process"
    # The steps by kind, so that each N is one call.
    for call in fsync fdatasync sendto writev; do
        steps=$(grep -c "$call(" "$WORK/steps")
        failed=''
        done_steps=0
        # All of a few, some of many.
        stride=$(((steps + KILLS - 1) / KILLS))
        [ "$stride" -gt 0 ] || continue
        for ((n = 1; n <= steps; n += stride)); do
            if killed_at "$process" "$call" "$n" >"$WORK/killed" 2>&1; then
                done_steps=$((done_steps + 1))
            else
                failed+=" $n: $(tail -n 1 "$WORK/killed")"
            fi
        done
        if [ -z "$failed" ]; then
            ok "kill -9 of the $process at $call: $done_steps of $steps places, and the next tap opens"
        else
            not_ok "kill -9 of the $process at $call" "$failed"
        fi
    done
done
