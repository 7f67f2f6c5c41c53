# SPDX-License-Identifier: MIT OR Apache-2.0
# Redis over loopback: its event loop on epoll, snapshots by a child, an append-only file with fsync, threads for I/O.
# Packages: redis-server redis-tools
# On Linux it prints: PONG
mkdir -p /tmp/redis && cd /tmp/redis || exit 1

start() {
    redis-server --bind 127.0.0.1 --unixsocket /tmp/redis/socket --dir /tmp/redis --logfile /tmp/redis/log --daemonize yes \
        --save '' "$@" > /dev/null || cat /tmp/redis/log
    until [ "$(redis-cli ping 2>&1)" = PONG ]; do sleep 0.1; done
}

stop() {
    redis-cli shutdown "$@"
    while [ -e /tmp/redis/socket ]; do sleep 0.1; done
}

# The benchmark's rows without their figures.
measure() {
    redis-benchmark --csv "$@" 2>&1 | cut -d, -f1 | grep -v '"test"'
}

start --io-threads 2
redis-cli ping
redis-cli -s /tmp/redis/socket set key value
redis-cli get key
for _ in 1 2 3; do redis-cli incr number; done
redis-cli rpush list a b c d && redis-cli lrange list 1 2
redis-cli eval 'return {KEYS[1], redis.call("get", KEYS[1])}' 1 key
(redis-cli --csv subscribe channel & echo $! > subscriber; wait) > heard &
until redis-cli publish channel hello | grep -qx 1; do sleep 0.1; done
until grep -q hello heard; do sleep 0.1; done
kill "$(cat subscriber)"
grep message heard
redis-cli expire key 1 && until [ "$(redis-cli exists key)" = 0 ]; do sleep 0.2; done && echo expired

measure -n 2000 -c 10 -t set,get
measure -n 4000 -c 10 -P 16 -t set,get
measure -n 1000 -c 5 -d 20000 -t set,get
measure -s /tmp/redis/socket -n 1000 -c 5 -t ping
measure -n 2000 -c 10 --threads 2 -t set
redis-cli eval 'for i = 1, 20000 do redis.call("set", "key:" .. i, i) end' 0

redis-cli bgsave
until redis-cli info persistence | grep -q 'rdb_bgsave_in_progress:0'; do sleep 0.1; done
redis-cli info persistence | grep -o 'rdb_last_bgsave_status:ok'
size=$(redis-cli dbsize)
stop nosave
start
echo "the snapshot is loaded: $(redis-cli dbsize), as before: $([ "$(redis-cli dbsize)" = "$size" ] && echo yes)"
redis-cli config set appendonly yes
until redis-cli info persistence | grep -q 'aof_rewrite_in_progress:0'; do sleep 0.1; done
redis-cli set kept 'in the log' && redis-cli waitaof 1 0 1000
stop
start --appendonly yes
redis-cli get kept
stop
grep -c 'crashed\|Fatal' log
