# SPDX-License-Identifier: MIT OR Apache-2.0
# Lighttpd over loopback: files by sendfile, CGI programs by fork and pipes; Apache's ab, curl and busybox's wget ask.
# Packages: lighttpd apache2-utils curl
# On Linux it prints: a small file
mkdir -p /tmp/www/cgi-bin /var/tmp && cd /tmp || exit 1
echo 'a small file' > www/small.txt
head -c 4096 /dev/zero | tr '\0' x > www/page.html
head -c 3000000 /dev/zero | tr '\0' y > www/large.bin
cat > www/cgi-bin/hello.sh << 'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n%s of %s: %s\n' "$REQUEST_METHOD" "$QUERY_STRING" "$(cat)"
END
chmod 755 www/cgi-bin/hello.sh
cat > lighttpd.conf << 'END'
server.document-root = "/tmp/www"
server.port = 8080
server.bind = "127.0.0.1"
server.modules = ("mod_cgi", "mod_dirlisting", "mod_accesslog")
server.errorlog = "/tmp/lighttpd.errors"
server.pid-file = "/tmp/lighttpd.pid"
accesslog.filename = "/tmp/lighttpd.access"
dir-listing.activate = "enable"
mimetype.assign = (".html" => "text/html", ".txt" => "text/plain")
cgi.assign = (".sh" => "/bin/sh")
END
lighttpd -tt -f lighttpd.conf && lighttpd -f lighttpd.conf || exit 1
until wget -q -O /dev/null http://127.0.0.1:8080/small.txt 2> /dev/null; do sleep 0.1; done
wget -q -O - http://127.0.0.1:8080/small.txt
wget -q -O - http://127.0.0.1:8080/large.bin | sha256sum
curl -s -r 10-19 http://127.0.0.1:8080/page.html; echo
curl -s -o /dev/null -w '%{http_code} %{size_download}\n' http://127.0.0.1:8080/nowhere -o /dev/null http://127.0.0.1:8080/large.bin
curl -s http://127.0.0.1:8080/ | grep -c 'large.bin'
curl -s -d 'some data' 'http://127.0.0.1:8080/cgi-bin/hello.sh?a=b'

# What ab says that does not depend on time.
measure() {
    ab -q "$@" 2>&1 | grep -E '^(Complete requests|Failed requests|Non-2xx|Document Length|HTML transferred|Keep-Alive requests)|rror'
}
measure -n 500 -c 8 http://127.0.0.1:8080/page.html
measure -k -n 1000 -c 8 http://127.0.0.1:8080/page.html
measure -n 20 -c 4 http://127.0.0.1:8080/large.bin
measure -n 20 -c 4 http://127.0.0.1:8080/cgi-bin/hello.sh

kill "$(cat lighttpd.pid)"
while [ -e lighttpd.pid ]; do sleep 0.1; done
wc -l < /tmp/lighttpd.access
grep -o 'server stopped' lighttpd.errors
grep -cv 'server started\|server stopped' lighttpd.errors
