//! Writes databases in MaxMind's format, version 2.0 (<https://maxmind.github.io/MaxMind-DB/>), for tests and benches.

use ipnet::IpNet;
use serde_json::{Map, Value};
use std::{collections::HashMap, net::IpAddr};

/// What a record of the search tree leads to.
#[derive(Clone, Copy)]
enum Side {
    Nothing,
    Node(usize),
    Data(usize),
}

/// A database of these networks (a narrower one after a wider one) and what is known of each. IPv4 stands at `::/96`.
/// `bits` is the size of a record: 24, 28 or 32.
pub fn database(kind: &str, built: u64, bits: u16, networks: &[(&str, Value)]) -> Vec<u8> {
    let (mut data, mut known) = (Vec::new(), HashMap::new());
    let mut nodes = vec![[Side::Nothing; 2]];
    for (network, record) in networks {
        let place = *known.entry(record.to_string()).or_insert_with(|| {
            let place = data.len();
            put(&mut data, record);
            place
        });
        insert(&mut nodes, network.parse().unwrap(), place);
    }
    let count = nodes.len();
    let number = |side: Side| match side {
        Side::Nothing => count,
        Side::Node(node) => node,
        Side::Data(place) => count + 16 + place,
    };
    let mut out = Vec::new();
    for [left, right] in nodes {
        let (left, right) = (number(left) as u32, number(right) as u32);
        assert!(u64::from(left.max(right)) < 1 << bits, "the tree does not fit records of {bits} bits");
        match bits {
            24 => [left, right].iter().for_each(|side| out.extend(&side.to_be_bytes()[1..])),
            28 => {
                out.extend(&left.to_be_bytes()[1..]);
                out.push(((left >> 24) << 4 | right >> 24) as u8);
                out.extend(&right.to_be_bytes()[1..]);
            }
            _ => [left, right].iter().for_each(|side| out.extend(side.to_be_bytes())),
        }
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut out, kind, built, bits, count);
    out
}

/// Leads a network to its record, below whatever wider network was there.
fn insert(nodes: &mut Vec<[Side; 2]>, network: IpNet, place: usize) {
    let (address, length) = match network.addr() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), network.prefix_len() + 96),
        IpAddr::V6(ip) => (u128::from(ip), network.prefix_len()),
    };
    let side = |depth: u8| (address >> (127 - depth) & 1) as usize;
    let mut node = 0;
    for depth in 0..length - 1 {
        let next = nodes.len();
        match nodes[node][side(depth)] {
            Side::Node(there) => node = there,
            wider => {
                nodes.push([wider; 2]);
                nodes[node][side(depth)] = Side::Node(next);
                node = next;
            }
        }
    }
    nodes[node][side(length - 1)] = Side::Data(place);
}

fn metadata(out: &mut Vec<u8>, kind: &str, built: u64, bits: u16, nodes: usize) {
    // the reader wants the types that the format names
    let number = |out: &mut Vec<u8>, name: &str, kind: u8, value: &[u8]| {
        put(out, &name.into());
        head(out, kind, value.len());
        out.extend(value);
    };
    head(out, 7, 9);
    number(out, "binary_format_major_version", 5, &2u16.to_be_bytes());
    number(out, "binary_format_minor_version", 5, &0u16.to_be_bytes());
    number(out, "build_epoch", 9, &built.to_be_bytes());
    for (name, value) in [
        ("database_type", Value::from(kind)),
        ("description", serde_json::json!({ "en": "made by a test" })),
        ("languages", serde_json::json!(["en"])),
    ] {
        put(out, &name.into());
        put(out, &value);
    }
    number(out, "ip_version", 5, &6u16.to_be_bytes());
    number(out, "node_count", 6, &(nodes as u32).to_be_bytes());
    number(out, "record_size", 5, &bits.to_be_bytes());
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => {
            head(out, 2, text.len());
            out.extend(text.as_bytes());
        }
        Value::Number(number) => match number.as_u64() {
            Some(whole) => {
                let bytes = u32::try_from(whole).unwrap().to_be_bytes();
                head(out, 6, 4);
                out.extend(bytes);
            }
            None => {
                head(out, 3, 8);
                out.extend(number.as_f64().unwrap().to_be_bytes());
            }
        },
        Value::Bool(value) => head(out, 14, usize::from(*value)),
        Value::Array(items) => {
            head(out, 11, items.len());
            items.iter().for_each(|item| put(out, item));
        }
        Value::Object(entries) => put_map(out, entries),
        Value::Null => panic!("the format has no null"),
    }
}

fn put_map(out: &mut Vec<u8>, entries: &Map<String, Value>) {
    head(out, 7, entries.len());
    for (key, value) in entries {
        put(out, &key.as_str().into());
        put(out, value);
    }
}

/// The control byte, the byte of an extended type, and the bytes of a length from 29 on.
fn head(out: &mut Vec<u8>, kind: u8, length: usize) {
    let (short, more) = match length {
        0..29 => (length as u8, &[][..]),
        29..285 => (29, &[(length - 29) as u8][..]),
        _ => (30, &((length - 285) as u16).to_be_bytes()[..]),
    };
    if kind > 7 {
        out.extend([short, kind - 7]);
    } else {
        out.push(kind << 5 | short);
    }
    out.extend(more);
}
