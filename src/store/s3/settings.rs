//! Where a bucket is and how patiently to talk to it.

use super::clock::DateKeeper;
use crate::error::{Error, Result};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::{
    Client,
    config::{
        Region, RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use std::{fmt, time::Duration};

/// A bucket and how to reach it. It holds no secrets: credentials come from the standard AWS chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; empty for none.
    pub prefix: String,
    /// Its region; without one, that of the environment or profile, and `us-east-1` at an endpoint of its own.
    pub region: Option<String>,
    /// `http://…` or `https://…` of an S3-compatible server; without one, that of AWS.
    pub endpoint: Option<String>,
    /// The bucket is named in the path instead of the host. Most servers other than AWS want it.
    pub path_style: bool,
    /// To a connection.
    pub connect_timeout: Duration,
    /// From the last byte sent to the first one received.
    pub read_timeout: Duration,
    /// For one attempt, the sending of the body included.
    pub attempt_timeout: Duration,
    /// For all attempts of one request.
    pub operation_timeout: Duration,
    /// Attempts of one request, the first included. After the last one the caller decides.
    pub attempts: u32,
    /// Send checksums only where S3 demands one: for servers that refuse newer kinds. Objects are sent with their
    /// SHA-256 anyway.
    pub when_required: bool,
}

impl S3Settings {
    /// A bucket at AWS, with the default patience: 5 s to connect, 60 s to an answer, 120 s an attempt, 300 s and 5
    /// attempts in all.
    pub fn new(bucket: impl Into<String>, prefix: impl AsRef<str>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.as_ref().trim_matches('/').to_owned(),
            region: None,
            endpoint: None,
            path_style: false,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(120),
            operation_timeout: Duration::from_secs(300),
            attempts: 5,
            when_required: false,
        }
    }

    /// Refuses what no request could be made of, or what would put a secret into a message.
    pub fn check(&self) -> Result<()> {
        let name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        if self.bucket.is_empty() || self.bucket.len() > 255 || !self.bucket.bytes().all(name) {
            return Err(Error::config(format!(
                "{:?} is not the name of a bucket: letters, digits, '.', '-', '_'",
                self.bucket
            )));
        }
        if !self.prefix.is_empty() && (self.prefix.len() > 200 || crate::store::check_key(&self.prefix).is_err()) {
            return Err(Error::config(format!(
                "{:?} is not a prefix: at most 200 of A-Z a-z 0-9 . _ - in parts divided by '/', \
                 none of them '.' or '..'",
                self.prefix
            )));
        }
        if let Some(endpoint) = &self.endpoint {
            let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['?', '#', ' '])) {
                return Err(Error::config("the endpoint must be http://host:port or https://host:port"));
            }
            if rest.is_some_and(|rest| rest.contains('@')) {
                return Err(Error::config(
                    "the endpoint must not hold a user or password: credentials come from the AWS chain",
                ));
            }
        }
        if self.attempts == 0 {
            return Err(Error::config("attempts must be at least 1"));
        }
        Ok(())
    }

    /// The configuration of the standard AWS chain: environment, profile, SSO, web identity, container, instance.
    pub(super) async fn standard_chain(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        // without a region there is no signature; a server of one's own does not care which
        if let Some(region) = self.region.clone().or_else(|| self.endpoint.as_ref().map(|_| "us-east-1".to_owned())) {
            loader = loader.region(Region::new(region));
        }
        loader.load().await
    }

    /// Every timeout and the number of attempts are set here: the SDK's own defaults have none for the whole of a
    /// request.
    pub(super) fn client(&self, base: &SdkConfig, dates: DateKeeper) -> Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .operation_attempt_timeout(self.attempt_timeout)
            .operation_timeout(self.operation_timeout)
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(base)
            .timeout_config(timeouts)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(self.attempts)
                    .with_initial_backoff(Duration::from_millis(200))
                    .with_max_backoff(Duration::from_secs(5)),
            )
            .force_path_style(self.path_style)
            .interceptor(dates);
        if let Some(region) = &self.region {
            config = config.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if self.when_required {
            config = config
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        Client::from_conf(config.build())
    }
}

impl fmt::Display for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        match &self.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}
