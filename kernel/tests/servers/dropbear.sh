# SPDX-License-Identifier: MIT OR Apache-2.0
# Dropbear and its client over loopback: keys, commands, pseudo-terminals, ports that are led on.
# Packages: dropbear-bin socat
# On Linux it prints: as root
mkdir -p /root/.ssh /tmp/ssh && chmod 700 /root /root/.ssh && cd /tmp/ssh || exit 1
grep -q /bin/sh /etc/shells 2> /dev/null || echo /bin/sh >> /etc/shells
dropbearkey -t ed25519 -f host_key > /dev/null 2>&1
dropbearkey -t ed25519 -f user_key 2> /dev/null | grep '^ssh-ed25519' > /root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys
dropbear -F -E -r host_key -p 127.0.0.1:2222 -P /tmp/ssh/pid 2> log &
server=$!
remote() {
    dbclient -y -y -i user_key -p 2222 "$@" 2> errors
}
until remote root@127.0.0.1 true; do sleep 0.2; done
remote root@127.0.0.1 'echo as $(id -un)'
remote root@127.0.0.1 'exit 7'
echo "status $?"
remote root@127.0.0.1 'cat; echo to stderr >&2' < /bin/busybox | cmp - /bin/busybox && grep 'to stderr' errors
# On a terminal of its own; what is typed may be echoed there too, before the client has seen to that.
cat > client << 'END'
#!/bin/sh
exec dbclient -t -y -y -i user_key -p 2222 root@127.0.0.1 'tty | cut -c1-9; test -t 1 && echo on a terminal
read line; echo typed $line; sleep 1000; echo and interrupted' 2> /dev/null
END
chmod 755 client
mkfifo keys && : > said
socat -,ignoreeof EXEC:./client,pty,setsid,ctty < keys > said &
terminal=$!
exec 3> keys
until grep -q 'on a terminal' said; do sleep 0.1; done
echo words >&3
until grep -q '^typed' said; do sleep 0.1; done
printf '\003' >&3
wait $terminal
exec 3>&-
tr -d '\r' < said | grep -v '^words\|\^C'
for number in 1 2 3 4; do
    remote root@127.0.0.1 "seq $number 20000 | sha256sum" > "sum.$number" &
    sums="$sums $!"
done
wait $sums
cat sum.*
remote -N -L 127.0.0.1:2300:127.0.0.1:2222 root@127.0.0.1 &
forward=$!
until dbclient -y -y -i user_key -p 2300 root@127.0.0.1 'echo through a forwarded port' 2> /dev/null; do sleep 0.2; done
kill $forward
dbclient -y -y -i /dev/null -p 2222 root@127.0.0.1 true < /dev/null 2> /dev/null
echo "without a key: $?"
kill $server
