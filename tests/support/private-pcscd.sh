#!/bin/sh
# Runs a command beside a pcscd of its own with a virtual reader that calls itself an ACR122U.
#
#     private-pcscd.sh [-p PORT] [-n NAME] [-i LIBRARY -s SOCKET] [-v] -- COMMAND ARGUMENT...
#
# The command finds PCSCLITE_CSOCK_NAME (the socket, for every PC/SC client), TAPDOOR_VPCD (127.0.0.1:PORT, where a card
# connects for the first slot; the second is at PORT+1) and PCSCD_PID in its environment. Its exit status is ours.
# With -i and -s there is a second reader, "ACS ACR122U Tapdoor", by our own driver LIBRARY for a simulated reader at SOCKET, which
# may come and go while pcscd runs.
# 77: skipped, because something that is needed is missing; with CI=true that is 1. -v shows pcscd's log at the end.
set -u

port='' name='ACS ACR122U PICC Interface' verbose='' library='' socket=''
usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        -p) [ $# -ge 2 ] || usage; port=$2; shift 2 ;;
        -n) [ $# -ge 2 ] || usage; name=$2; shift 2 ;;
        -i) [ $# -ge 2 ] || usage; library=$2; shift 2 ;;
        -s) [ $# -ge 2 ] || usage; socket=$2; shift 2 ;;
        -v) verbose=1; shift ;;
        --) shift; break ;;
        -*) usage ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || usage
case $port in *[!0-9]*) usage ;; esac

skip() {
    echo "private-pcscd: skipped: $1" >&2
    [ "${CI:-}" = true ] && exit 1
    exit 77
}

driver=/usr/lib/pcsc/drivers/serial/libifdvpcd.so
[ -e "$driver" ] || skip "no $driver; apt-get install vsmartcard-vpcd"
PATH=$PATH:/usr/sbin:/sbin
for tool in pcscd unshare setpriv mount flock; do
    command -v "$tool" >/dev/null || skip "no $tool; apt-get install pcscd util-linux"
done
flags=-m
[ "$(id -u)" = 0 ] || flags=-rm
unshare $flags true 2>/dev/null || skip 'mount namespaces are not allowed here'

# Whether somebody listens on port $1; asking by connecting would be inserting a card.
listening() { awk -v p="$(printf ':%04X' "$1")" 'NR > 1 && $4 == "0A" && substr($2, length($2) - 4) == p { found = 1 } END { exit !found }' /proc/net/tcp /proc/net/tcp6; }

# Two neighbouring ports, by the same locks as tests/support/pcscd.rs.
locks=${TMPDIR:-/tmp}/tapdoor-ports
mkdir -p "$locks" && chmod 1777 "$locks" 2>/dev/null
claim() { { exec 9>>"$locks/$1"; } 2>/dev/null && flock -n 9; }
if [ -n "$port" ]; then
    claim "$port" || { echo "private-pcscd: another test has port $port" >&2; exit 3; }
else
    n=0
    while :; do
        port=$((20000 + ($$ + n) % 4000 * 2)) n=$((n + 1))
        [ $n -le 4000 ] || { echo 'private-pcscd: no free pair of ports' >&2; exit 3; }
        claim "$port" && ! listening "$port" && ! listening $((port + 1)) && break
    done
fi

dir=$(mktemp -d "/tmp/tapdoor-pcscd-$$-XXXXXX") || exit 3
daemon='' command=''
# shellcheck disable=SC2317
finish() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    # Only after a signal is it still there.
    [ -z "$command" ] || { kill "$command" && wait "$command"; } 2>/dev/null
    [ -z "$daemon" ] || { kill -9 "$daemon"; wait "$daemon"; } 2>/dev/null
    [ -z "$verbose" ] || cat "$dir/log" >&2
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir "$dir/run" "$dir/conf"
cp "$driver" "$dir/libifdvpcd.so" || exit 3
hex=$(printf '0x%04X' "$port")
printf 'FRIENDLYNAME "%s"\nDEVICENAME /dev/null:%s\nLIBPATH %s\nCHANNELID %s\n' "$name" "$hex" "$dir/libifdvpcd.so" "$hex" >"$dir/conf/reader"
[ -z "$library" ] ||
    printf 'FRIENDLYNAME "ACS ACR122U Tapdoor"\nDEVICENAME /dev/null:%s\nLIBPATH %s\nCHANNELID 0\n' "$socket" "$library" >"$dir/conf/tapdoor"

# The shell becomes pcscd, which dies with us.
# shellcheck disable=SC2016
unshare $flags --propagation private sh -ec '
    [ -d /run/pcscd ] || mkdir /run/pcscd 2>/dev/null || { mount -t tmpfs tmpfs /run && mkdir /run/pcscd; }
    mount --bind "$1/run" /run/pcscd
    exec setpriv --pdeathsig KILL pcscd --foreground -c "$1/conf"
' pcscd "$dir" </dev/null >"$dir/log" 2>&1 9>&- &
daemon=$!

n=0
until [ -S "$dir/run/pcscd.comm" ] && listening "$port" && listening $((port + 1)); do
    n=$((n + 1))
    if [ $n -gt 200 ] || ! kill -0 "$daemon" 2>/dev/null; then
        echo 'private-pcscd: pcscd did not start:' >&2
        cat "$dir/log" >&2
        exit 3
    fi
    sleep 0.05
done

# In the background, because a shell obeys no signal while it waits for a command in the foreground.
exec 3<&0
PCSCLITE_CSOCK_NAME=$dir/run/pcscd.comm TAPDOOR_VPCD=127.0.0.1:$port PCSCD_PID=$daemon setpriv --pdeathsig TERM "$@" <&3 3<&- 9>&- &
command=$!
wait "$command"
status=$?
command=''
exit "$status"
