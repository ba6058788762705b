//! Dead letters read back: what was rejected and why, and the original as it was before headers of ours were added.

use super::dead_letter::{CODE, DETAIL, POSITION, SCHEMA_ID, TRIMMED, VERSION, WITHHELD};
use crate::{
    position::Position,
    record::{Header, RawRecord},
};
use bytes::Bytes;

/// Header of a replayed record: the position at which it was sealed before.
pub const REPLAY_OF: &str = "authseal-replay-of";

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The rejection's code.
    pub code: String,
    /// Its detail.
    pub detail: String,
    /// The schema id that the record named.
    pub schema_id: Option<String>,
    /// Where the record is sealed.
    pub position: Option<Position>,
    /// When it was published: milliseconds as Kafka gave them.
    pub published: i64,
    /// The version of authseal that published it.
    pub version: Option<String>,
    /// Why parts of the record are not kept.
    pub withheld: Option<String>,
    /// What was left out for the broker's limit.
    pub trimmed: Option<String>,
    /// The position at which it was sealed before it was replayed, if it was.
    pub replay_of: Option<String>,
    /// The record's own key.
    pub key: Option<Bytes>,
    /// The record's own headers.
    pub headers: Vec<Header>,
    /// The record's own value.
    pub value: Option<Bytes>,
}

/// A record to publish again, to the partition that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Topic.
    pub topic: String,
    /// Partition; `None` for that of the key.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<Bytes>,
    /// The record's own headers, and [`REPLAY_OF`].
    pub headers: Vec<Header>,
    /// Value.
    pub value: Option<Bytes>,
}

impl Letter {
    /// Reads a message of the dead-letter topic. `None` if authseal did not write it.
    pub fn parse(record: RawRecord) -> Option<Self> {
        let ours = record.headers.iter().rposition(|header| header.key == CODE)?;
        let mut headers = record.headers;
        let added = headers.split_off(ours);
        let text = |name: &str| {
            let value = added.iter().find(|header| header.key == name)?.value.as_ref()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let replay_of = headers.last().filter(|header| header.key == REPLAY_OF).and_then(|header| {
            let value = header.value.as_ref()?;
            Some(String::from_utf8_lossy(value).into_owned())
        });
        Some(Self {
            code: text(CODE).unwrap_or_default(),
            detail: text(DETAIL).unwrap_or_default(),
            schema_id: text(SCHEMA_ID),
            position: text(POSITION).and_then(|position| position.parse().ok()),
            published: record.timestamp,
            version: text(VERSION),
            withheld: text(WITHHELD),
            trimmed: text(TRIMMED),
            replay_of,
            key: record.key,
            headers,
            value: record.value,
        })
    }

    /// Bytes of the record's own key, headers and value.
    pub fn size(&self) -> usize {
        let of = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|header| header.key.len() + of(&header.value)).sum();
        of(&self.key) + of(&self.value) + headers
    }

    /// The record as it was published first, byte for byte, with one header that says where it is sealed already.
    /// Errors with the reason why the letter does not hold all of it.
    pub fn replay(&self) -> Result<Replay, String> {
        if let Some(code) = &self.withheld {
            return Err(format!("withheld ({code}): only its producer has it"));
        }
        if let Some(what) = &self.trimmed {
            return Err(format!("trimmed ({what}): it was too large for the dead-letter topic; its position has it"));
        }
        let Some(position) = &self.position else {
            return Err("it does not name its position".into());
        };
        let mut headers = self.headers.clone();
        if self.replay_of.is_some() {
            // what was replayed before has that header of ours: it gets the new one in its place
            headers.pop();
        }
        let value = Some(Bytes::from(position.to_string()));
        headers.push(Header { key: Bytes::from_static(REPLAY_OF.as_bytes()), value });
        let place = position.chain.topic_partition();
        Ok(Replay {
            topic: place.topic.to_string(),
            partition: Some(place.partition),
            key: self.key.clone(),
            headers,
            value: self.value.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        publish::dead_letter::{dead_letter, trim},
        record::{Decoded, Outcome, Rejection, Scope, Withheld},
    };
    use proptest::prelude::*;

    fn decoded(withheld: Option<Scope>) -> Decoded {
        let withheld = withheld.map(|scope| Withheld { code: "biometric", length: 5, mac: [0; 32], scope });
        let rejection = Rejection::new("unknown_schema_id", "schema id 7 is not known");
        Decoded { outcome: Outcome::Rejection(rejection), withheld, schema_id: Some("7".into()) }
    }

    fn letter_of(raw: &RawRecord, decoded: &Decoded) -> RawRecord {
        let out = dead_letter(&"main/auth/3/0".parse().unwrap(), raw, decoded).unwrap();
        RawRecord { key: out.key, headers: out.headers, value: out.value, timestamp: 1_000, ..RawRecord::default() }
    }

    fn raw() -> RawRecord {
        let spoofed = |key: &'static str| Header { key: Bytes::from_static(key.as_bytes()), value: Some("x".into()) };
        RawRecord {
            offset: 42,
            key: Some("key".into()),
            headers: vec![spoofed(CODE), spoofed(POSITION), spoofed(WITHHELD)],
            value: Some("value".into()),
            ..RawRecord::default()
        }
    }

    #[test]
    fn a_letter_tells_what_was_wrong_and_headers_of_the_record_do_not_deceive_it() {
        let letter = Letter::parse(letter_of(&raw(), &decoded(None))).unwrap();
        assert_eq!((letter.code.as_str(), letter.detail.as_str()), ("unknown_schema_id", "schema id 7 is not known"));
        assert_eq!(letter.position.as_ref().unwrap().to_string(), "main/auth/3/0@42");
        assert_eq!((letter.schema_id.as_deref(), letter.withheld.as_deref()), (Some("7"), None));
        assert_eq!((letter.published, letter.size()), (1_000, raw().size()));
    }

    #[test]
    fn what_is_no_letter_of_ours_is_left_alone() {
        assert_eq!(Letter::parse(RawRecord { headers: Vec::new(), ..raw() }), None);
    }

    #[test]
    fn what_a_letter_does_not_hold_cannot_be_replayed() {
        for scope in [Scope::Value, Scope::Record] {
            let letter = Letter::parse(letter_of(&raw(), &decoded(Some(scope)))).unwrap();
            assert!(letter.replay().unwrap_err().starts_with("withheld (biometric)"));
        }
        let out = dead_letter(&"main/auth/3/0".parse().unwrap(), &raw(), &decoded(None)).unwrap();
        let small = trim(&out).unwrap();
        let small = RawRecord { key: small.key, headers: small.headers, value: small.value, ..RawRecord::default() };
        assert!(Letter::parse(small).unwrap().replay().unwrap_err().starts_with("trimmed (body)"));
    }

    #[test]
    fn a_record_that_is_replayed_twice_names_the_last_place_only() {
        let first = Letter::parse(letter_of(&raw(), &decoded(None))).unwrap().replay().unwrap();
        let again = RawRecord {
            offset: 77,
            key: first.key.clone(),
            headers: first.headers.clone(),
            value: first.value.clone(),
            ..RawRecord::default()
        };
        let letter = Letter::parse(letter_of(&again, &decoded(None))).unwrap();
        assert_eq!(letter.replay_of.as_deref(), Some("main/auth/3/0@42"));
        let second = letter.replay().unwrap();
        assert_eq!(second.headers[..3], raw().headers);
        assert_eq!(second.headers[3..], [Header { key: REPLAY_OF.into(), value: Some("main/auth/3/0@77".into()) }]);
    }

    proptest! {
        #[test]
        fn any_record_comes_back_byte_for_byte(
            key: Option<Vec<u8>>,
            value: Option<Vec<u8>>,
            headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        ) {
            let own = headers.into_iter().map(|(key, value)| (key.into(), value.map(Into::into)));
            let headers: Vec<Header> = own.map(|(key, value)| Header { key, value }).collect();
            let raw = RawRecord {
                offset: 42, key: key.map(Into::into), value: value.map(Into::into), headers, ..RawRecord::default()
            };
            let replay = Letter::parse(letter_of(&raw, &decoded(None))).unwrap().replay().unwrap();
            prop_assert_eq!((replay.topic.as_str(), replay.partition), ("auth", Some(3)));
            prop_assert_eq!((replay.key, replay.value), (raw.key, raw.value));
            let (ours, own) = replay.headers.split_last().unwrap();
            prop_assert_eq!(own, &raw.headers[..]);
            prop_assert_eq!(&ours.key[..], REPLAY_OF.as_bytes());
        }
    }
}
