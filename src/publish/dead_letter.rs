//! What is published for a rejection and for a finding, and what is left of it when a broker finds it too large. Pure.
//!
//! A dead letter is the original record with headers of ours behind its own. The first of ours is the last header
//! called [`CODE`]: whoever replays a dead letter cuts there and has the original, even if that carried such names
//! itself.

use super::{Outgoing, Stream};
use crate::{
    detect::Finding,
    position::ChainId,
    record::{Decoded, Header, Outcome, RawRecord, Scope},
};
use bytes::Bytes;

/// Header: the rejection's code. The first one of ours.
pub const CODE: &str = "authseal-code";
/// Header: the rejection's detail, at most [`MAX_DETAIL`] bytes.
pub const DETAIL: &str = "authseal-detail";
/// Header: the schema id that the record named, if it named one.
pub const SCHEMA_ID: &str = "authseal-schema-id";
/// Header: where the record is sealed, as cluster/topic/partition/incarnation@offset.
pub const POSITION: &str = "authseal-position";
/// Header: the record's Kafka timestamp, milliseconds.
pub const TIMESTAMP: &str = "authseal-timestamp";
/// Header: the version of authseal.
pub const VERSION: &str = "authseal-version";
/// Header: why parts of the record are not kept, if some are not.
pub const WITHHELD: &str = "authseal-withheld";
/// Header: what was left out because the message was too large: [`BODY`], then [`RECORD`].
pub const TRIMMED: &str = "authseal-trimmed";
/// Header of alerts: the id of the rule.
pub const RULE: &str = "authseal-rule";
/// Value of [`TRIMMED`]: the value is left out.
pub const BODY: &str = "body";
/// Value of [`TRIMMED`]: key, value and the record's own headers are left out.
pub const RECORD: &str = "record";
/// Longest [`DETAIL`], bytes.
pub const MAX_DETAIL: usize = 1024;

fn header(key: &'static str, value: impl Into<Bytes>) -> Header {
    Header { key: Bytes::from_static(key.as_bytes()), value: Some(value.into()) }
}

/// The dead letter of a rejection; `None` for what was not rejected. What is withheld is not in it.
pub fn dead_letter(chain: &ChainId, raw: &RawRecord, decoded: &Decoded) -> Option<Outgoing> {
    let Outcome::Rejection(rejection) = &decoded.outcome else { return None };
    let scope = decoded.withheld.as_ref().map(|withheld| withheld.scope);
    let mut headers = if scope == Some(Scope::Record) { Vec::new() } else { raw.headers.clone() };
    headers.push(header(CODE, rejection.code));
    let mut cut = rejection.detail.len().min(MAX_DETAIL);
    while !rejection.detail.is_char_boundary(cut) {
        cut -= 1;
    }
    headers.push(header(DETAIL, rejection.detail[..cut].to_owned()));
    if let Some(id) = &decoded.schema_id {
        headers.push(header(SCHEMA_ID, id.to_string()));
    }
    headers.push(header(POSITION, chain.at(raw.offset).to_string()));
    headers.push(header(TIMESTAMP, raw.timestamp.to_string()));
    headers.push(header(VERSION, env!("CARGO_PKG_VERSION")));
    if let Some(withheld) = &decoded.withheld {
        headers.push(header(WITHHELD, withheld.code));
    }
    Some(Outgoing {
        stream: Stream::DeadLetters,
        key: raw.key.clone().filter(|_| scope != Some(Scope::Record)),
        headers,
        value: raw.value.clone().filter(|_| scope.is_none()),
    })
}

/// A smaller dead letter that says so: without its body first, then without anything of the record. `None` when there
/// is nothing left to leave out.
pub fn trim(letter: &Outgoing) -> Option<Outgoing> {
    let ours = letter.headers.iter().rposition(|h| h.key == CODE)?;
    let trimmed = |h: &Header| h.key == TRIMMED;
    let (mut headers, key, what) = if letter.value.is_some() {
        (letter.headers.clone(), letter.key.clone(), BODY)
    } else if letter.key.is_some() || ours > 0 {
        (letter.headers[ours..].to_vec(), None, RECORD)
    } else {
        return None;
    };
    let ours = headers.iter().rposition(|h| h.key == CODE)?;
    if let Some(before) = headers[ours..].iter().position(trimmed) {
        headers.remove(ours + before);
    }
    headers.push(header(TRIMMED, what));
    Some(Outgoing { stream: letter.stream, key, headers, value: None })
}

/// The alert of a finding: the OCSF object as JSON under the finding's uid. That of a rule in mode shadow goes to a
/// topic of its own, never to the alerts.
pub fn alert(finding: &Finding) -> Outgoing {
    Outgoing {
        stream: if finding.live { Stream::Alerts } else { Stream::Shadow },
        key: Some(finding.uid.clone().into()),
        headers: vec![header("content-type", "application/json"), header(RULE, finding.rule.clone())],
        value: Some(finding.ocsf.clone().into()),
    }
}

/// The same alert with a smaller body, which says itself what it lacks.
pub fn trimmed_alert(alert: &Outgoing, body: impl Into<Bytes>) -> Outgoing {
    let mut headers = alert.headers.clone();
    headers.push(header(TRIMMED, BODY));
    Outgoing { value: Some(body.into()), headers, ..alert.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Rejection, Withheld};

    fn chain() -> ChainId {
        "main/auth/3/0".parse().unwrap()
    }

    fn raw() -> RawRecord {
        let own = Header { key: Bytes::from_static(b"\xff\0"), value: None };
        RawRecord {
            offset: 42,
            timestamp: -5,
            key: Some("key".into()),
            headers: vec![own, header(CODE, "spoofed")],
            value: Some("value".into()),
            ..RawRecord::default()
        }
    }

    fn rejected(withheld: Option<Scope>) -> Decoded {
        let withheld = withheld.map(|scope| Withheld { code: "biometric", length: 5, mac: [0; 32], scope });
        let rejection = Rejection::new("trailing_bytes", "é".repeat(1000));
        Decoded { outcome: Outcome::Rejection(rejection), withheld, schema_id: Some("7".into()) }
    }

    fn value<'a>(message: &'a Outgoing, key: &str) -> Option<&'a [u8]> {
        message.headers.iter().rfind(|h| h.key == key).and_then(|h| h.value.as_deref())
    }

    #[test]
    fn a_dead_letter_is_the_record_and_the_reason() {
        let letter = dead_letter(&chain(), &raw(), &rejected(None)).unwrap();
        assert_eq!((letter.stream, &letter.key, &letter.value), (Stream::DeadLetters, &raw().key, &raw().value));
        for (key, expected) in [
            (CODE, "trailing_bytes"),
            (SCHEMA_ID, "7"),
            (POSITION, "main/auth/3/0@42"),
            (TIMESTAMP, "-5"),
            (VERSION, env!("CARGO_PKG_VERSION")),
        ] {
            assert_eq!(value(&letter, key), Some(expected.as_bytes()), "{key}");
        }
        assert_eq!(value(&letter, DETAIL).unwrap().len(), MAX_DETAIL);
        assert_eq!(value(&letter, WITHHELD), None);
        // what precedes the last code is the original
        let ours = letter.headers.iter().rposition(|h| h.key == CODE).unwrap();
        assert_eq!(letter.headers[..ours], raw().headers);
    }

    #[test]
    fn what_is_withheld_is_left_out() {
        let of_value = dead_letter(&chain(), &raw(), &rejected(Some(Scope::Value))).unwrap();
        assert_eq!((of_value.key.as_deref(), of_value.value.as_deref()), (Some(&b"key"[..]), None));
        assert_eq!(value(&of_value, WITHHELD), Some(&b"biometric"[..]));
        assert_eq!(of_value.headers[..2], raw().headers);
        let of_record = dead_letter(&chain(), &raw(), &rejected(Some(Scope::Record))).unwrap();
        assert_eq!((of_record.key.as_deref(), of_record.value.as_deref()), (None, None));
        assert_eq!(of_record.headers[0].key, CODE);
        assert_eq!(value(&of_record, POSITION), Some(&b"main/auth/3/0@42"[..]));
    }

    #[test]
    fn only_rejections_have_dead_letters() {
        let opaque = Decoded { outcome: Outcome::Opaque, withheld: None, schema_id: None };
        assert_eq!(dead_letter(&chain(), &raw(), &opaque), None);
    }

    #[test]
    fn trimming_ends() {
        let letter = dead_letter(&chain(), &raw(), &rejected(None)).unwrap();
        let body = trim(&letter).unwrap();
        assert_eq!((body.value.as_ref(), body.key.as_ref()), (None, raw().key.as_ref()));
        assert_eq!(value(&body, TRIMMED), Some(BODY.as_bytes()));
        let record = trim(&body).unwrap();
        assert_eq!((record.value.as_ref(), record.key.as_ref()), (None, None));
        assert_eq!(record.headers[0].key, CODE);
        assert_eq!(record.headers.iter().filter(|h| h.key == TRIMMED).count(), 1);
        assert_eq!(value(&record, TRIMMED), Some(RECORD.as_bytes()));
        assert_eq!(trim(&record), None);
    }

    #[test]
    fn alerts_are_keyed_by_their_uid() {
        let finding = Finding {
            uid: "r:0123".into(),
            rule: "r".into(),
            position: chain().at(1),
            live: true,
            silenced: false,
            title: "t".into(),
            severity: crate::detect::Severity::High,
            key: Vec::new(),
            reach: vec![chain().at(1)],
            update: 0,
            ocsf: b"{}".to_vec(),
        };
        let alert = alert(&finding);
        assert_eq!((alert.key.as_deref(), alert.value.as_deref()), (Some(&b"r:0123"[..]), Some(&b"{}"[..])));
        assert_eq!(value(&alert, "content-type"), Some(&b"application/json"[..]));
        assert_eq!(value(&alert, RULE), Some(&b"r"[..]));
        assert_eq!(alert.stream, Stream::Alerts);
        let shadow = super::alert(&Finding { live: false, ..finding.clone() });
        assert_eq!((shadow.stream, shadow.value), (Stream::Shadow, alert.value.clone()));
        let trimmed = trimmed_alert(&alert, "[]");
        assert_eq!((trimmed.value.as_deref(), value(&trimmed, TRIMMED)), (Some(&b"[]"[..]), Some(BODY.as_bytes())));
    }
}
