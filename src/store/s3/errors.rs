//! What an answer of S3 means: whether to ask again, or which setting or permission a person must change.

use crate::error::Error;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

const CREDENTIALS: &str =
    "set AWS credentials that are valid: environment, profile, web identity, container or instance role";

/// The answers that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A create-only put found the key taken.
    Exists,
    /// Another request was at the same key: ask the same again.
    Conflict,
    /// No such key or version.
    Missing,
    /// The object or the bucket has no lock.
    NoLock,
    /// Not permitted.
    Forbidden,
    /// No such bucket.
    NoBucket,
    /// Another region or endpoint is in charge of the bucket.
    Elsewhere,
    /// The clocks differ so much that the signature is not accepted.
    Skewed,
    /// The credentials are wrong or have expired, or there are none.
    Credentials,
    /// Whoever gives out the credentials does not answer: for the moment, or because there is nobody.
    NoCredentialsNow,
    /// The server does not know this operation or header.
    Unsupported,
    /// The bucket is not set up for it.
    BadBucket,
    /// The request can never succeed as it is.
    Refused,
    /// The moment is wrong, not the request.
    Transient,
}

/// By the error's code where there is one (answers to HEAD have none), else by its status.
pub(super) fn classify(status: u16, code: &str) -> Class {
    match code {
        "PreconditionFailed" => Class::Exists,
        "ConditionalRequestConflict" | "OperationAborted" => Class::Conflict,
        "NoSuchKey" | "NoSuchVersion" | "NoSuchLifecycleConfiguration" => Class::Missing,
        "NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError" => Class::NoLock,
        "NoSuchBucket" => Class::NoBucket,
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => Class::Elsewhere,
        "TemporaryRedirect" | "RequestTimeout" | "SlowDown" | "InternalError" | "ServiceUnavailable" => {
            Class::Transient
        }
        // damaged on the way: the same bytes may arrive whole next time
        "BadDigest" | "IncompleteBody" => Class::Transient,
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequests" => Class::Transient,
        "RequestTimeTooSkewed" => Class::Skewed,
        "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired" => Class::Credentials,
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => Class::Credentials,
        "NotImplemented" | "MethodNotAllowed" | "XAmzContentSHA256Mismatch" => Class::Unsupported,
        "InvalidBucketState" => Class::BadBucket,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Class::Forbidden,
        _ => match status {
            301 | 308 => Class::Elsewhere,
            307 | 408 | 425 | 429 => Class::Transient,
            401 | 403 => Class::Forbidden,
            404 => Class::Missing,
            409 => Class::Conflict,
            412 => Class::Exists,
            501 => Class::Unsupported,
            400..=499 => Class::Refused,
            _ => Class::Transient,
        },
    }
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Reply {
    pub class: Class,
    /// `403 AccessDenied: Access Denied`, or what went wrong before there was an answer. Bounded; no secrets: S3 sends
    /// none in code and message, and nothing else of the answer is shown.
    pub text: String,
}

/// Reads an error of the SDK.
pub(super) fn reply<E>(error: &SdkError<E, HttpResponse>) -> Reply
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let meta = service.err().meta();
            let code = meta.code().unwrap_or_default();
            let text = match meta.message() {
                Some(message) if !message.is_empty() => format!("{status} {code}: {message}"),
                _ => format!("{status} {code}"),
            };
            Reply { class: classify(status, code), text: tidy(&text) }
        }
        _ => {
            let text = causes(error);
            let class = match error {
                _ if has(&text, &["no providers in chain", "provider was not"]) => Class::Credentials,
                _ if has(&text, &["credentials", "identity"]) => Class::NoCredentialsNow,
                // arguments that cannot be sent, or settings of the client that make no sense
                SdkError::ConstructionFailure(_) => Class::Refused,
                SdkError::DispatchFailure(failure) if failure.is_user() => Class::Refused,
                // no answer, or none that can be understood
                _ => Class::Transient,
            };
            Reply { class, text: tidy(&text) }
        }
    }
}

fn has(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// What went wrong and why, from the outermost cause to the innermost.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // libraries like to repeat their cause in their own text
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// One line, at most 400 characters.
fn tidy(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect::<String>().trim_end().to_owned()
}

impl Reply {
    /// The error that a caller sees: `doing` names operation, bucket and key; `permission` what the operation needs.
    pub fn error(&self, doing: &str, permission: &str) -> Error {
        let hint = match self.class {
            Class::Transient => return Error::retry(format!("{doing}: {}", self.text)),
            Class::NoCredentialsNow => {
                return Error::retry(format!("{doing}: {}; if it lasts, {CREDENTIALS}", self.text));
            }
            Class::Conflict => {
                return Error::retry(format!("{doing}: another request was at the same key every time: {}", self.text));
            }
            Class::Exists | Class::Missing | Class::NoLock => {
                "the store answered what this operation cannot be answered with"
            }
            Class::Forbidden => {
                let hint = format!("allow {permission}, under the conditions of deploy/iam-policy.json");
                return Error::config(format!("{doing}: {}; {hint}", self.text));
            }
            Class::NoBucket => "create the bucket with Object Lock (docs/store.md), or correct its name",
            Class::Elsewhere => "set the region of the bucket",
            Class::Skewed => "set this machine's clock (NTP)",
            Class::Credentials => CREDENTIALS,
            Class::Unsupported => {
                "this server lacks an operation that authseal needs; if it refuses checksums, set \
                 request_checksum = \"when_required\""
            }
            Class::BadBucket => "enable versioning and Object Lock on the bucket (docs/store.md)",
            Class::Refused => {
                "the request is refused as it is: check that the bucket has Object Lock and the settings of the store"
            }
        };
        Error::config(format!("{doing}: {}; {hint}", self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn answers_are_told_apart() {
        for (status, code, class, kind) in [
            (412, "PreconditionFailed", Class::Exists, Kind::Config),
            (412, "", Class::Exists, Kind::Config),
            (409, "ConditionalRequestConflict", Class::Conflict, Kind::Retry),
            (409, "OperationAborted", Class::Conflict, Kind::Retry),
            (409, "InvalidBucketState", Class::BadBucket, Kind::Config),
            (404, "NoSuchKey", Class::Missing, Kind::Config),
            (404, "NoSuchVersion", Class::Missing, Kind::Config),
            (404, "NoSuchBucket", Class::NoBucket, Kind::Config),
            (404, "NoSuchObjectLockConfiguration", Class::NoLock, Kind::Config),
            (403, "AccessDenied", Class::Forbidden, Kind::Config),
            (403, "", Class::Forbidden, Kind::Config),
            (403, "RequestTimeTooSkewed", Class::Skewed, Kind::Config),
            (403, "InvalidAccessKeyId", Class::Credentials, Kind::Config),
            (400, "ExpiredToken", Class::Credentials, Kind::Config),
            (301, "PermanentRedirect", Class::Elsewhere, Kind::Config),
            (400, "InvalidRequest", Class::Refused, Kind::Config),
            (400, "BadDigest", Class::Transient, Kind::Retry),
            (400, "RequestTimeout", Class::Transient, Kind::Retry),
            (400, "XAmzContentSHA256Mismatch", Class::Unsupported, Kind::Config),
            (501, "NotImplemented", Class::Unsupported, Kind::Config),
            (429, "", Class::Transient, Kind::Retry),
            (500, "InternalError", Class::Transient, Kind::Retry),
            (503, "SlowDown", Class::Transient, Kind::Retry),
            (503, "", Class::Transient, Kind::Retry),
            (507, "", Class::Transient, Kind::Retry),
        ] {
            assert_eq!(classify(status, code), class, "{status} {code}");
            let error = Reply { class, text: format!("{status} {code}") }.error("creating a", "s3:PutObject");
            assert_eq!(error.kind(), kind, "{status} {code}");
            assert!(error.to_string().starts_with("creating a: "), "{error}");
        }
    }
}
