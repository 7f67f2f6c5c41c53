# SPDX-License-Identifier: MIT OR Apache-2.0
# iperf3 over loopback, both ways, TCP and UDP, one stream and several: threads, SO_SNDBUF, TCP_INFO, pacing.
# Packages: iperf3
# On Linux it prints: send: all is sent, as much received
# A name, the bytes that have to be sent at least (streams end with a whole block each), and options.
measure() {
    what=$1 wanted=$2
    shift 2
    set -- -n "$wanted" "$@"
    iperf3 -s -1 -B 127.0.0.1 > /tmp/server 2>&1 &
    until iperf3 -c 127.0.0.1 -J "$@" > /tmp/client 2>&1; do
        grep -q 'refused' /tmp/client || { cat /tmp/client; return; }
        sleep 0.1
    done
    wait $!
    awk -v what="$what" -v wanted="$wanted" '
        /"(sum_sent|sum_received|sum)":/ { part = $1 }
        /"bytes":/ && part { gsub(/[^0-9]/, "", $2); bytes[part] = $2; part = "" }
        /"error"/ { print }
        END {
            sent = bytes["\"sum_sent\":"]; received = bytes["\"sum_received\":"]
            print what ": " (sent >= wanted ? "all is sent" : sent " bytes are sent") ", " \
                (sent == received ? "as much received" : received " received of " sent)
        }' /tmp/client
}
measure send 20000000
measure receive 20000000 -R
measure 'four streams' 20000000 -P 4
measure 'small blocks' 2000000 -l 1000
measure 'both ways' 4000000 --bidir
iperf3 -s -1 -B 127.0.0.1 > /dev/null 2>&1 &
until iperf3 -c 127.0.0.1 -u -b 20M -l 1000 -n 1000000 -J > /tmp/client 2>&1; do sleep 0.1; done
wait $!
grep -c '"protocol":.*"UDP"' /tmp/client
