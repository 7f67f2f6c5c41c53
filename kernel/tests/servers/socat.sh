# SPDX-License-Identifier: MIT OR Apache-2.0
# socat and OpenBSD's nc over loopback: TCP, UDP, Unix sockets, pseudo-terminals, child processes.
# Packages: socat netcat-openbsd
# On Linux it prints: through TCP
cd /tmp || exit 1
# Waits for what prints nothing until it works.
until_said() {
    until said=$("$@" 2> /dev/null) && [ -n "$said" ]; do sleep 0.1; done
    echo "$said"
}
socat TCP-LISTEN:7001,bind=127.0.0.1,reuseaddr,fork EXEC:cat &
tcp=$!
until_said sh -c 'echo through TCP | nc.openbsd -N 127.0.0.1 7001'
head -c 1000000 /dev/zero | tr '\0' z | nc.openbsd -N 127.0.0.1 7001 | sha256sum
for number in 1 2 3 4 5 6 7 8; do
    seq "$number" 20000 | socat - TCP:127.0.0.1:7001 | sha256sum > "sum.$number" &
    sums="$sums $!"
done
wait $sums
cat sum.*
kill $tcp

socat UDP-LISTEN:7002,bind=127.0.0.1,fork EXEC:cat &
udp=$!
until_said sh -c 'echo through UDP | socat -t 1 - UDP:127.0.0.1:7002'
kill $udp

nc.openbsd -lU /tmp/unix > heard &
unix=$!
until echo 'through a Unix socket' | nc.openbsd -NU /tmp/unix 2> /dev/null; do sleep 0.1; done
wait $unix
cat heard

nc.openbsd -N -l 127.0.0.1 7003 < /bin/busybox > /dev/null &
until nc.openbsd -d 127.0.0.1 7003 2> /dev/null > copy && [ -s copy ]; do sleep 0.1; done
cmp copy /bin/busybox && echo 'a file through nc'
nc.openbsd -z -w 1 127.0.0.1 7004 || echo 'nobody listens there'

socat TCP-LISTEN:7005,bind=127.0.0.1,reuseaddr EXEC:'sh -c "tty | cut -c1-9; stty size; exit"',pty,setsid,ctty,stderr &
until_said socat -u TCP:127.0.0.1:7005 - | tr -d '\r'
wait $!
socat TCP-LISTEN:7006,bind=127.0.0.1,reuseaddr SYSTEM:'read line; echo "heard $line"; exit 3' &
until_said sh -c 'echo a line | socat - TCP:127.0.0.1:7006'
socat -u OPEN:/bin/busybox,rdonly - | cmp - /bin/busybox && echo 'a file through socat'
socat PTY,link=/tmp/terminal,rawer PTY,link=/tmp/other,rawer &
pair=$!
until [ -e /tmp/terminal ] && [ -e /tmp/other ]; do sleep 0.1; done
(head -n 1 < /tmp/other > from_terminal) &
reader=$!
sleep 0.2
echo 'between two terminals' > /tmp/terminal
wait $reader
cat from_terminal
kill $pair
