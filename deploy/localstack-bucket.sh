#!/bin/bash
# LocalStack runs this when it is ready: the bucket for the evidence, with Object Lock, which brings versioning.
set -eu
awslocal s3api head-bucket --bucket evidence 2> /dev/null ||
  awslocal s3api create-bucket --bucket evidence --object-lock-enabled-for-bucket
