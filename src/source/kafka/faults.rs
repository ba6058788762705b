//! What librdkafka's errors mean for whoever runs authseal, and how often the same one is told.

use super::{ffi::error_text, oauth};
use crate::error::{Error, Kind};
use rdkafka::types::RDKafkaRespErr as Code;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Whether an error says that the member's view of its group is out of date: a rebalance mends it.
pub fn is_rebalance(code: i32) -> bool {
    [
        Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
        Code::RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST,
    ]
    .iter()
    .any(|known| *known as i32 == code)
}

/// What to do about an error code, and what to look at.
fn advice(code: i32) -> (Kind, &'static str) {
    let known = Code::try_from(code).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN);
    match known {
        Code::RD_KAFKA_RESP_ERR__AUTHENTICATION
        | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
        | Code::RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE => (
            Kind::Config,
            "check security.protocol, sasl.mechanism, and sasl.username and sasl.password; with OAUTHBEARER, which \
                 issuer, audience and scope the brokers expect",
        ),
        Code::RD_KAFKA_RESP_ERR__SSL => (
            Kind::Config,
            "check ssl.ca.location; where the brokers ask for a certificate, ssl.certificate.location and \
                 ssl.key.location",
        ),
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => (
            Kind::Config,
            "grant this principal READ and DESCRIBE on topics it reads, WRITE and DESCRIBE on those it publishes to",
        ),
        Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => {
            (Kind::Config, "grant this principal READ and DESCRIBE on the consumer group")
        }
        Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED => {
            (Kind::Config, "grant this principal IDEMPOTENT_WRITE on the cluster (Kafka before 2.8 demands it)")
        }
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        | Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION => {
            (Kind::Config, "create the topic or mend its name; without DESCRIBE on it Kafka says the same")
        }
        Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID => {
            (Kind::Config, "another process uses the same `instance`: give each its own")
        }
        Code::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_ASSIGNOR => (
            Kind::Config,
            "members of a group need a partition.assignment.strategy in common: stop the others, or choose another \
                 `group`",
        ),
        Code::RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT => {
            (Kind::Config, "choose a session.timeout.ms that the brokers allow (group.min.session.timeout.ms and max)")
        }
        Code::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID | Code::RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED => {
            (Kind::Config, "choose another `group`, or raise group.max.size on the brokers")
        }
        Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION | Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => {
            (Kind::Config, "the brokers are too old for what is asked of them")
        }
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
        | Code::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
        | Code::RD_KAFKA_RESP_ERR_INVALID_RECORD => {
            (Kind::Data, "raise max.message.bytes of the topic if such messages are to pass")
        }
        Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE => {
            (Kind::Config, "the topic's configuration forbids such messages")
        }
        Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP => {
            (Kind::Config, "the clock of this machine is too far from the brokers' (message.timestamp.after.max.ms)")
        }
        Code::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED => {
            (Kind::Retry, "the process was stopped for too long; it joins again")
        }
        _ => (Kind::Retry, ""),
    }
}

/// The error that a code is, with `words` of librdkafka (its own text when there are none) and what to do.
pub fn error(code: i32, words: &str) -> Error {
    let (kind, hint) = oauth::advice(words).unwrap_or_else(|| advice(code));
    let own = error_text(code);
    let words = match words.trim() {
        "" => own,
        words if words.contains(own.as_str()) => words.to_owned(),
        words => format!("{words}: {own}"),
    };
    let message = if hint.is_empty() { words } else { format!("{words}; {hint}") };
    Error::new(kind, lower(&message))
}

/// librdkafka writes sentences; ours begin in lower case, unless with a name.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            first.to_ascii_lowercase().to_string() + chars.as_str()
        }
        _ => text.to_owned(),
    }
}

/// Lets the same error through once in a while: librdkafka repeats some for every broker and every attempt.
#[derive(Default)]
pub struct Limiter {
    seen: HashMap<String, (Instant, u64)>,
}

impl Limiter {
    /// The same error at most this often.
    const EVERY: Duration = Duration::from_secs(10);
    /// Errors remembered. When there are more they are forgotten: one is then told again too early.
    const MOST: usize = 256;

    /// Whether this one is to be told now, and how many of it were not since the last time.
    pub fn admit(&mut self, what: &str, now: Instant) -> Option<u64> {
        if let Some((last, held)) = self.seen.get_mut(what) {
            if now.duration_since(*last) < Self::EVERY {
                *held += 1;
                return None;
            }
            *last = now;
            return Some(std::mem::take(held));
        }
        if self.seen.len() >= Self::MOST {
            self.seen.clear();
        }
        self.seen.insert(what.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_kind_and_their_advice() {
        for (code, kind, hint) in [
            (Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, Kind::Retry, ""),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Kind::Retry, ""),
            (Code::RD_KAFKA_RESP_ERR__RESOLVE, Kind::Retry, ""),
            (Code::RD_KAFKA_RESP_ERR__AUTHENTICATION, Kind::Config, "sasl.password"),
            (Code::RD_KAFKA_RESP_ERR__SSL, Kind::Config, "ssl.ca.location"),
            (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Kind::Config, "READ"),
            (Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, Kind::Config, "group"),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, Kind::Config, "create the topic"),
            (Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, Kind::Config, "instance"),
            (Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Kind::Data, "max.message.bytes"),
        ] {
            let error = error(code as i32, "Words of librdkafka");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(hint) && error.to_string().starts_with("words of"), "{error}");
        }
        let token = |words: &str| error(Code::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32, words);
        let refused = token("Failed to acquire SASL OAUTHBEARER token: the identity provider refuses: 401 unknown");
        assert!(refused.kind() == Kind::Config && refused.to_string().contains("sasl.oauthbearer"), "{refused}");
        assert!(token("Failed to acquire SASL OAUTHBEARER token: no answer within 10 s").is_retry());
        assert!(is_rebalance(22) && is_rebalance(25) && is_rebalance(27) && !is_rebalance(29));
        assert_eq!(error(12_345, "").to_string(), "error code 12345");
    }

    #[test]
    fn storms_are_limited_and_counted() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        assert_eq!(limiter.admit("a", start), Some(0));
        assert_eq!(limiter.admit("b", start), Some(0));
        for second in 1..10 {
            assert_eq!(limiter.admit("a", start + Duration::from_secs(second)), None);
        }
        assert_eq!(limiter.admit("a", start + Duration::from_secs(11)), Some(9));
        for n in 0..10_000 {
            limiter.admit(&n.to_string(), start);
        }
        assert!(limiter.seen.len() <= Limiter::MOST);
    }
}
