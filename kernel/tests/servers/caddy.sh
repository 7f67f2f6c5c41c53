# SPDX-License-Identifier: MIT OR Apache-2.0
# Programs in Go over loopback: the server Caddy (which starts itself as its child, and is told by signals to end) and the client hey.
# Packages: caddy hey curl
# On Linux it prints: a file
mkdir -p /tmp/www /tmp/caddy && cd /tmp/caddy || exit 1
export HOME=/tmp/caddy XDG_DATA_HOME=/tmp/caddy/data XDG_CONFIG_HOME=/tmp/caddy/config
echo 'a file' > /tmp/www/file.txt
head -c 4096 /dev/zero | tr '\0' x > /tmp/www/page.html
head -c 3000000 /dev/zero | tr '\0' y > /tmp/www/large.bin
cat > Caddyfile << 'END'
{
    admin 127.0.0.1:2019
    auto_https off
}
http://127.0.0.1:8080 {
    root * /tmp/www
    file_server
    respond /hello "hello {query}"
}
http://127.0.0.1:8081 {
    reverse_proxy 127.0.0.1:8080
}
END
caddy start --config Caddyfile --adapter caddyfile --pidfile pid > log 2>&1 || { cat log; exit 1; }
curl -s http://127.0.0.1:8080/file.txt
curl -s 'http://127.0.0.1:8080/hello?a=b'; echo
curl -s http://127.0.0.1:8080/large.bin | sha256sum
curl -s http://127.0.0.1:8081/large.bin | sha256sum
curl -s -r 10-19 http://127.0.0.1:8080/page.html; echo
curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/nowhere

# How many answers there were, by status.
measure() {
    hey "$@" 2>&1 | grep -E '^ *\[[0-9]+\]' | tr -s ' \t' ' '
}
measure -n 400 -c 8 http://127.0.0.1:8080/page.html
measure -n 100 -c 4 -disable-keepalive http://127.0.0.1:8080/page.html
measure -n 100 -c 4 http://127.0.0.1:8081/page.html
measure -n 16 -c 4 http://127.0.0.1:8080/nowhere

sed -i 's/hello {query}/changed/' Caddyfile
caddy reload --config Caddyfile --adapter caddyfile > log 2>&1 || cat log
curl -s http://127.0.0.1:8080/hello; echo
pid=$(cat pid)
kill -TERM "$pid"
while [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.1; done
curl -s http://127.0.0.1:8080/file.txt
echo "afterwards: $?"
