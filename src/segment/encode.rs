//! Leaves in their one canonical encoding: minimal Avro, maps by the bytes of their keys, arrays and maps in one block.
//! The order of the fields is that of `schemas/sealed_record.avsc`.

use super::LeafKind;
use crate::{
    avro::{put_bytes, put_long},
    event::{Activity, Attributes, AuthEvent, Factor, Micros, Outcome, Text, UserKind, Verification},
    record::{self, Decoded, Gap, Header, RawRecord, Rejection, Scope, TimestampType, Withheld},
};
use bytes::Bytes;

/// Branch 0 of a union with null.
const NULL: u8 = 0;
/// Branch 1 of a union with null: zigzag of 1.
const SET: u8 = 2;

/// Appends the leaf of a record.
pub fn record(out: &mut Vec<u8>, raw: &RawRecord, decoded: &Decoded) {
    let (key, headers, value) = match decoded.withheld.as_ref().map(|w| w.scope) {
        None => (&raw.key, &raw.headers[..], &raw.value),
        Some(Scope::Value) => (&raw.key, &raw.headers[..], &None),
        Some(Scope::Record) => (&None, &[][..], &None),
    };
    let kept = key.as_ref().map_or(0, Bytes::len) + value.as_ref().map_or(0, Bytes::len);
    // the event's own text is mostly that of the value once more
    out.reserve(2 * kept + 256);
    put_long(out, raw.offset);
    put_long(out, kind(&decoded.outcome) as i64);
    put_long(out, raw.timestamp);
    put_long(out, timestamp_type(raw.timestamp_type));
    opt_bytes(out, key);
    put_headers(out, headers);
    opt_bytes(out, value);
    put_withheld(out, decoded.withheld.as_ref());
    out.push(NULL); // protection
    match &decoded.outcome {
        record::Outcome::Event(event) => {
            out.push(SET);
            self::event(out, event);
            out.extend_from_slice(&[NULL, NULL]);
        }
        record::Outcome::Rejection(Rejection { code, detail }) => {
            out.extend_from_slice(&[NULL, SET]);
            put_bytes(out, code.as_bytes());
            put_bytes(out, detail.as_bytes());
            out.push(NULL);
        }
        record::Outcome::Opaque => out.extend_from_slice(&[NULL, NULL, NULL]),
    }
}

/// Appends the leaf of a gap.
pub fn gap(out: &mut Vec<u8>, gap: &Gap) {
    put_long(out, gap.from);
    put_long(out, LeafKind::Gap as i64);
    // timestamp 0, timestamp_type NONE, then null or empty: key, headers, value, withheld, protection, event, rejection
    out.extend_from_slice(&[0; 9]);
    out.push(SET);
    put_long(out, gap.to);
    put_bytes(out, gap.cause.name().as_bytes());
}

fn kind(outcome: &record::Outcome) -> LeafKind {
    match outcome {
        record::Outcome::Event(_) => LeafKind::Event,
        record::Outcome::Rejection(_) => LeafKind::Rejection,
        record::Outcome::Opaque => LeafKind::Opaque,
    }
}

fn timestamp_type(of: TimestampType) -> i64 {
    match of {
        TimestampType::None => 0,
        TimestampType::CreateTime => 1,
        TimestampType::LogAppendTime => 2,
    }
}

fn opt_bytes(out: &mut Vec<u8>, bytes: &Option<Bytes>) {
    match bytes {
        None => out.push(NULL),
        Some(bytes) => {
            out.push(SET);
            put_bytes(out, bytes);
        }
    }
}

fn put_headers(out: &mut Vec<u8>, headers: &[Header]) {
    if !headers.is_empty() {
        put_long(out, headers.len() as i64);
        for header in headers {
            put_bytes(out, &header.key);
            opt_bytes(out, &header.value);
        }
    }
    out.push(0);
}

fn put_withheld(out: &mut Vec<u8>, withheld: Option<&Withheld>) {
    match withheld {
        None => out.push(NULL),
        Some(withheld) => {
            out.push(SET);
            put_bytes(out, withheld.code.as_bytes());
            put_long(out, withheld.length);
            put_bytes(out, &withheld.mac);
        }
    }
}

/// A type of an event's field, as Avro.
trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

impl Put for Text {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
}

impl Put for Micros {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_long(out, self.0);
    }
}

impl Put for i64 {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_long(out, *self);
    }
}

impl Put for i32 {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_long(out, i64::from(*self));
    }
}

impl Put for f64 {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

impl Put for bool {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<T: Put> Put for Option<T> {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(NULL),
            Some(value) => {
                out.push(SET);
                value.put(out);
            }
        }
    }
}

impl Put for Vec<Text> {
    fn put(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_long(out, self.len() as i64);
            self.iter().for_each(|text| text.put(out));
        }
        out.push(0);
    }
}

impl Put for Attributes {
    fn put(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_long(out, self.len() as i64);
            for (key, value) in self.iter() {
                put_bytes(out, key.as_bytes());
                put_bytes(out, value.as_bytes());
            }
        }
        out.push(0);
    }
}

macro_rules! put_enum {
    ($($name:ident)+) => {
        $(impl Put for $name {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                put_long(out, *self as i64);
            }
        })+
    };
}
put_enum!(Activity Outcome UserKind Factor Verification);

macro_rules! put_fields {
    ($out:ident, $event:ident: $($name:ident)+) => {
        // a field that is missing here does not compile
        let AuthEvent { $($name),+ } = $event;
        $($name.put($out);)+
    };
}

/// Appends an event in the canonical schema: bare Avro, as a producer would send it. The order here is the order of the
/// schema: the tests read it back by the schema.
pub fn event(out: &mut Vec<u8>, event: &AuthEvent) {
    put_fields!(out, event:
        event_id time auth_time source source_instance source_seq tenant activity outcome reason reason_detail user
        user_id user_kind actor src_ip dst_host src_asn lat long country city is_proxy is_vpn user_agent ja4 device
        device_token device_trust session root_session session_start trace_id request_id token_id token_family
        token_kind client_id factor credential_id is_mfa verification verified_by verification_ref acr action resource
        app protocol privileges corrects quality attributes);
}
