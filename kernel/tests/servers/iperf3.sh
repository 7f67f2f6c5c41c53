# SPDX-License-Identifier: MIT OR Apache-2.0
# iperf3 over loopback, both ways, TCP and UDP, one stream and several: threads, SO_SNDBUF, TCP_INFO, pacing.
# Packages: iperf3 python3-minimal
# On Linux it prints: send: 20971520 bytes sent, as many received
measure() {
    what=$1
    shift
    iperf3 -s -1 -B 127.0.0.1 > /tmp/server 2>&1 &
    until iperf3 -c 127.0.0.1 -J "$@" > /tmp/client 2>&1; do
        grep -q 'refused' /tmp/client || { cat /tmp/client; return; }
        sleep 0.1
    done
    wait $!
    awk -v what="$what" '
        /"(sum_sent|sum_received|sum)":/ { part = $1 }
        /"bytes":/ && part { gsub(/[^0-9]/, "", $2); bytes[part] = $2; part = "" }
        /"error"/ { print }
        END {
            sent = bytes["\"sum_sent\":"]; received = bytes["\"sum_received\":"]
            print what ": " sent " bytes sent, " (sent - received <= 0 ? "as many received" : sent - received " fewer received")
        }' /tmp/client
}
measure send -n 20M
measure receive -n 20M -R
measure 'four streams' -n 20M -P 4
measure 'small blocks' -n 2M -l 1000
