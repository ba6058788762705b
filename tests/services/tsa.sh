#!/usr/bin/env bash
# Serves an RFC 3161 time-stamp authority on loopback (OpenSSL's `ts -reply` behind Python's HTTP server), in the foreground:
# whoever starts it stops it by its process id.
#
#   tests/services/tsa.sh FOLDER PORT
#
#   FOLDER/ca.pem    the root that its certificate comes from; FOLDER/tsa.pem is its own. Made on first use
#   TSA_KEY          rsa (default) or p256
set -euo pipefail

folder=${1:?FOLDER PORT} port=${2:?FOLDER PORT}
mkdir -p "$folder"
cd "$folder"
if [[ ! -e complete ]]; then
  algorithm=(-newkey rsa:2048)
  [[ ${TSA_KEY:-rsa} != p256 ]] || algorithm=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
  openssl req -x509 "${algorithm[@]}" -noenc -keyout ca.key -out ca.pem -days 3650 -subj "/CN=test TSA root" 2> /dev/null
  openssl req "${algorithm[@]}" -noenc -keyout tsa.key -out tsa.csr -subj "/CN=test TSA" 2> /dev/null
  openssl x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out tsa.pem 2> /dev/null \
    -extfile <(printf 'extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:false\n')
  echo 01 > serial
  cat > tsa.cnf << 'CONFIG'
[tsa]
default_tsa = authority
[authority]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = ca.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
CONFIG
  touch complete
fi
exec python3 - "$port" << 'PYTHON'
import http.server, subprocess, sys, tempfile


class Authority(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        with tempfile.NamedTemporaryFile() as query:
            query.write(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            query.flush()
            command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", query.name]
            reply = subprocess.run(command, capture_output=True)
        self.send_response(200 if reply.stdout else 500)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(reply.stdout)))
        self.end_headers()
        self.wfile.write(reply.stdout)


# one request at a time: nothing locks the file with the serial number
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Authority).serve_forever()
PYTHON
