#!/usr/bin/env bash
# Redpanda Connect (its Apache-2.0 components, built from the Go module proxy) copies a Kafka topic to S3.
#
#   redpanda-connect.sh DIR BROKERS TOPIC GROUP S3_ENDPOINT BUCKET
#
#   INSTALL=1   builds it into DIR, if it is not there, and ends: Go 1.26, four minutes
#   RULES=1     parses every message as JSON and tests the 20 conditions of selections.blobl before it is stored
#
# At least once: an offset is committed when the object that holds it is stored; after a crash objects overlap.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(cd "$1" && pwd) brokers=$2 topic=$3 group=$4 endpoint=$5 bucket=$6

if [[ ! -x $dir/redpanda-connect ]]; then
  mkdir -p "$dir/src"
  cat > "$dir/src/main.go" << 'GO'
// The parts of Redpanda Connect that this comparison needs.
package main

import (
	"context"

	"github.com/redpanda-data/benthos/v4/public/service"

	_ "github.com/redpanda-data/connect/v4/public/components/aws"
	_ "github.com/redpanda-data/connect/v4/public/components/io"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
)

func main() { service.RunCLI(context.Background()) }
GO
  printf 'module peer\n\ngo 1.26\n\nrequire github.com/redpanda-data/connect/v4 v4.100.0\n' > "$dir/src/go.mod"
  (cd "$dir/src" && go mod tidy && go build -ldflags='-s -w' -o "$dir/redpanda-connect" .) >&2
fi
[[ -z ${INSTALL:-} ]] || exit 0

judge=
[[ -z ${RULES:-} ]] || judge="    - mapping: 'from \"$here/selections.blobl\"'"
cat > "$dir/$group.yaml" << YAML
http: {enabled: false}
logger: {level: WARN}
input:
  kafka_franz:
    seed_brokers: ["$brokers"]
    topics: ["$topic"]
    consumer_group: $group
    start_offset: earliest
    commit_period: 1s
    # messages in flight in a partition: the default of 1024 would cap every batch
    checkpoint_limit: 200000
    batching: {count: 50000, byte_size: 16000000, period: 10s}
output:
  aws_s3:
    bucket: $bucket
    path: '\${! metadata("kafka_topic") }/\${! metadata("kafka_partition") }/\${! metadata("kafka_offset") }.lz4'
    endpoint: $endpoint
    region: us-east-1
    force_path_style_urls: true
    credentials: {id: "$AWS_ACCESS_KEY_ID", secret: "$AWS_SECRET_ACCESS_KEY"}
    max_in_flight: 8
pipeline:
  processors:
$judge
    - archive: {format: $([[ -n ${RULES:-} ]] && echo lines || echo binary)}
    - compress: {algorithm: lz4}
YAML
exec "$dir/redpanda-connect" run "$dir/$group.yaml"
