#!/usr/bin/env bash
# Kafka Connect 4.1 (standalone) with Apache Iceberg's sink 1.12, both from Maven Central, copies a Kafka topic into a table on
# S3: Parquet with zstd.
#
#   kafka-connect-iceberg.sh DIR BROKERS TOPIC GROUP S3_ENDPOINT BUCKET
#
#   INSTALL=1   installs it into DIR, if it is not there, and ends: Java 17 and Maven, 200 MiB
#
# A row is the message byte for byte, with its topic, partition, offset and time, as authseal keeps it; nothing is parsed or
# checked. Exactly once for the table: one coordinator commits what the control topic announces. Rows can be rewritten by
# whoever may write the table; nothing is signed.
set -euo pipefail
dir=$(cd "$1" && pwd) brokers=$2 topic=$3 group=$4 endpoint=$5 bucket=$6

# A folder of jars. The plugin's stay apart from Connect's own: two versions of Jackson must not meet.
jars() {
  local to=$1 line
  shift
  [[ ! -e $to/complete ]] || return 0
  mkdir -p "$to"
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>peer</groupId><artifactId>peer</artifactId><version>1</version><dependencies>'
    for line in "$@"; do
      IFS=: read -r of name version <<< "$line"
      echo "<dependency><groupId>$of</groupId><artifactId>$name</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
  } > "$to/pom.xml"
  mvn --quiet --batch-mode --file "$to/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$to" >&2
  touch "$to/complete"
}
jars "$dir/libs" org.apache.kafka:connect-runtime:4.1.0 org.apache.kafka:connect-transforms:4.1.0 \
  org.apache.kafka:kafka-tools:4.1.0 org.apache.logging.log4j:log4j-slf4j-impl:2.24.3
jars "$dir/plugins/iceberg" org.apache.iceberg:iceberg-kafka-connect:1.12.0 org.apache.iceberg:iceberg-data:1.12.0 \
  org.apache.iceberg:iceberg-parquet:1.12.0 org.apache.iceberg:iceberg-aws:1.12.0 org.apache.iceberg:iceberg-aws-bundle:1.12.0 \
  org.apache.hadoop:hadoop-client-api:3.4.1 org.apache.hadoop:hadoop-client-runtime:3.4.1 org.xerial:sqlite-jdbc:3.46.1.3

# the control topic must be there; it is no part of the work
control=control-$group
if [[ -n ${INSTALL:-} ]]; then
  java -cp "$dir/libs/*" org.apache.kafka.tools.TopicCommand --bootstrap-server "$brokers" --create --if-not-exists \
    --topic "$control" --partitions 1 --replication-factor 1 > /dev/null 2>&1
  exit
fi

cat > "$dir/log4j2.properties" << 'P'
rootLogger.level = ERROR
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c: %m%n
P
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$dir/$group.worker" << P
bootstrap.servers=$brokers
key.converter=org.apache.kafka.connect.converters.ByteArrayConverter
value.converter=org.apache.kafka.connect.converters.ByteArrayConverter
offset.storage.file.filename=$dir/$group.offsets
offset.flush.interval.ms=1000
listeners=http://127.0.0.1:$port
plugin.path=$dir/plugins
consumer.auto.offset.reset=earliest
consumer.max.poll.records=5000
consumer.fetch.min.bytes=262144
consumer.max.partition.fetch.bytes=4194304
P
# it reads in the group connect-$group
cat > "$dir/$group.sink" << P
name=$group
connector.class=org.apache.iceberg.connect.IcebergSinkConnector
tasks.max=2
topics=$topic
transforms=hoist,insert
transforms.hoist.type=org.apache.kafka.connect.transforms.HoistField\$Value
transforms.hoist.field=value
transforms.insert.type=org.apache.kafka.connect.transforms.InsertField\$Value
transforms.insert.topic.field=topic
transforms.insert.partition.field=partition
transforms.insert.offset.field=offset
transforms.insert.timestamp.field=timestamp
iceberg.tables=evidence.copy
iceberg.tables.auto-create-enabled=true
iceberg.tables.auto-create-props.write.parquet.compression-codec=zstd
iceberg.control.topic=$control
iceberg.control.commit.interval-ms=5000
iceberg.control.commit.timeout-ms=10000
iceberg.catalog.type=jdbc
iceberg.catalog.uri=jdbc:sqlite:$dir/$group.sqlite
iceberg.catalog.jdbc.schema-version=V1
iceberg.catalog.warehouse=s3://$bucket/table
iceberg.catalog.io-impl=org.apache.iceberg.aws.s3.S3FileIO
iceberg.catalog.client.region=us-east-1
iceberg.catalog.s3.endpoint=$endpoint
iceberg.catalog.s3.path-style-access=true
iceberg.catalog.s3.access-key-id=$AWS_ACCESS_KEY_ID
iceberg.catalog.s3.secret-access-key=$AWS_SECRET_ACCESS_KEY
P
exec java -Xmx2g -Dlog4j2.configurationFile="$dir/log4j2.properties" -cp "$dir/libs/*" \
  org.apache.kafka.connect.cli.ConnectStandalone "$dir/$group.worker" "$dir/$group.sink"
