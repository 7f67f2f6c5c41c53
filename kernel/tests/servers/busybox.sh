# SPDX-License-Identifier: MIT OR Apache-2.0
# busybox's servers and clients over loopback: httpd with CGI, wget, nc.
# On Linux it prints: a page
mkdir -p /tmp/www/cgi-bin && cd /tmp || exit 1
echo 'a page' > www/index.html
head -c 2000000 /dev/zero | tr '\0' w > www/large
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"; echo "$REQUEST_METHOD $QUERY_STRING"\n' > www/cgi-bin/hello
chmod 755 www/cgi-bin/hello
httpd -f -p 127.0.0.1:8001 -h /tmp/www &
server=$!
until wget -q -O - http://127.0.0.1:8001/ 2> /dev/null; do sleep 0.1; done
wget -q -O - http://127.0.0.1:8001/large | sha256sum
wget -q -O - 'http://127.0.0.1:8001/cgi-bin/hello?x=1'
wget -q -O - http://127.0.0.1:8001/nowhere 2>&1
for number in 1 2 3 4 5 6 7 8; do
    wget -q -O "copy.$number" http://127.0.0.1:8001/large &
    copies="$copies $!"
done
wait $copies
sha256sum copy.*
kill $server

nc -l -p 8002 -e sh -c 'read line; echo "nc heard $line"' &
until echo one | nc 127.0.0.1 8002 2> /dev/null; do sleep 0.1; done
wait $!
