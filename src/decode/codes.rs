//! The reason codes of rejections, each with its cause and its remedy: one table for dead letters, docs and help.

/// The value has no bytes.
pub const EMPTY: &str = "empty";
/// The value is larger than [`super::MAX_VALUE`].
pub const OVERSIZED: &str = "oversized";
/// Key and headers are larger than [`super::MAX_VALUE`] together.
pub const OVERSIZED_RECORD: &str = "oversized_record";
/// The first byte is not that of the configured wire format.
pub const WRONG_MAGIC: &str = "wrong_magic";
/// A Confluent schema id that is not configured.
pub const UNKNOWN_SCHEMA_ID: &str = "unknown_schema_id";
/// The registry has a schema of that id, and it cannot be used.
pub const SCHEMA_UNUSABLE: &str = "schema_unusable";
/// The registry did not deliver the schema in time.
pub const SCHEMA_UNAVAILABLE: &str = "schema_unavailable";
/// A single-object fingerprint of no configured schema.
pub const UNKNOWN_FINGERPRINT: &str = "unknown_fingerprint";
/// The Avro bytes end in the middle.
pub const TRUNCATED: &str = "truncated";
/// The bytes are not Avro of the schema.
pub const NOT_AVRO: &str = "not_avro";
/// Bytes are left after the event.
pub const TRAILING_BYTES: &str = "trailing_bytes";
/// The bytes are not JSON.
pub const NOT_JSON: &str = "not_json";
/// JSON, but of a form that cannot be read in one way only.
pub const JSON_FORM: &str = "json_form";
/// A record of no kind that the topic's mapping knows.
pub const UNMAPPED: &str = "unmapped";
/// No time.
pub const MISSING_TIME: &str = "missing_time";
/// A time that cannot be.
pub const IMPOSSIBLE_TIME: &str = "impossible_time";
/// Nobody and nothing that the event is about.
pub const NO_IDENTITY: &str = "no_identity";
/// Raw biometric material.
pub const BIOMETRIC: &str = "biometric";
/// A configured secret field.
pub const SECRET_FIELD: &str = "secret_field";
/// A defect of authseal.
pub const INTERNAL: &str = "internal";

/// What is withheld where a secret field was or may have been.
pub const WITHHELD_SECRET: &str = "secret";
/// What is withheld on topics with `keep = "event"`.
pub const WITHHELD_KEEP_EVENT: &str = "keep_event";

/// A reason code, explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// As written in rejections.
    pub code: &'static str,
    /// What is wrong with the record.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

const fn code(code: &'static str, cause: &'static str, remedy: &'static str) -> Code {
    Code { code, cause, remedy }
}

/// Every reason code that a decoder gives.
pub const ALL: &[Code] = &[
    code(EMPTY, "the value is there but has no bytes", "send a null value for a tombstone, an event otherwise"),
    code(
        OVERSIZED,
        "the value is larger than 16 MiB; it is withheld",
        "send what happened, not the document that it happened to",
    ),
    code(
        OVERSIZED_RECORD,
        "key and headers together are larger than 16 MiB; key, headers and value are withheld",
        "move what is large out of key and headers",
    ),
    code(
        WRONG_MAGIC,
        "the value does not begin with the marker of the topic's format",
        "compare the producer's serialiser with the topic's `format`",
    ),
    code(
        UNKNOWN_SCHEMA_ID,
        "the value names a schema id that is not known for this topic",
        "register the schema or add it to the topic's configuration, then \
         `authseal dead-letters replay --code unknown_schema_id`",
    ),
    code(
        SCHEMA_UNUSABLE,
        "the registry has a schema of that id, but none that is an Avro record: another type, broken, or with \
         references that cannot be resolved",
        "let the producer register the record's schema; after a correction `authseal dead-letters replay --code \
         schema_unusable`",
    ),
    code(
        SCHEMA_UNAVAILABLE,
        "the registry did not deliver the schema of that id within `registry.wait`, or too many ids that it does not \
         know were named at once",
        "once the registry answers, `authseal dead-letters replay --code schema_unavailable`",
    ),
    code(
        UNKNOWN_FINGERPRINT,
        "the value names the fingerprint of a schema that is not known for this topic",
        "add the schema to the topic's configuration, then `authseal dead-letters replay --code unknown_fingerprint`",
    ),
    code(
        TRUNCATED,
        "the bytes end in the middle of the value",
        "check that the schema is the one the producer wrote with; look for a proxy that cuts messages",
    ),
    code(
        NOT_AVRO,
        "the bytes are not Avro of this schema",
        "check that the schema is the one the producer wrote with, not a newer or older one",
    ),
    code(
        TRAILING_BYTES,
        "bytes follow the event",
        "send one event a message; check that the schema is the one the producer wrote with",
    ),
    code(NOT_JSON, "the value is not JSON in UTF-8", "check the producer's serialiser and the topic's `format`"),
    code(
        JSON_FORM,
        "the value is JSON, but not one object, or an object in it has a name twice or more than 10,000, or it nests \
         deeper than 64",
        "send one object a message, each name once",
    ),
    code(
        UNMAPPED,
        "the record is of no kind that the topic's mapping knows",
        "add an [[event]] to the mapping (`authseal schemas try` shows the effect), then \
         `authseal dead-letters replay --code unmapped`",
    ),
    code(MISSING_TIME, "the event has no time", "send `time`, or map the field that carries it"),
    code(
        IMPOSSIBLE_TIME,
        "the time cannot be read, is outside 1970 to 2999, or is over 24 hours after the record's own time",
        "check the producer's clock, and the unit of its numbers",
    ),
    code(
        NO_IDENTITY,
        "the event has none of user, user_id, actor, session, src_ip",
        "send or map at least one of them: no rule and no auditor could tell whom the event is about",
    ),
    code(
        BIOMETRIC,
        "a field, attribute, header or key carries a biometric template or image, by its name or by its content; \
         it is withheld",
        "stop sending it: send a reference (`credential_id`, `verification_ref`) and the result (`verification`)",
    ),
    code(
        SECRET_FIELD,
        "a field that the topic's `secret_fields` names is there; it is withheld",
        "stop sending it, or use `keep = \"event\"` if the source cannot",
    ),
    code(INTERNAL, "authseal failed on this record", "report it with the record's position; nothing was lost"),
];
