//! The Parsing Canonical Form of a schema and its CRC-64-AVRO fingerprint, which names the schema in single-object
//! encoding. Source: Apache Avro 1.12 specification, "Parsing Canonical Form for Schemas" and "Schema Fingerprints".

use super::schema::Schema;
use serde_json::{Map, Value};

/// The fingerprint of no bytes at all; also the polynomial.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut value, mut bit) = (i as u64, 0);
        while bit < 8 {
            value = (value >> 1) ^ (EMPTY & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
}

/// CRC-64-AVRO of any bytes.
pub fn rabin(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |hash, byte| (hash >> 8) ^ TABLE[usize::from(hash as u8 ^ byte)])
}

/// Whose canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// That of the specification; Java, Python and Go write it.
    Specification,
    /// That of the Rust crate apache-avro (seen in 0.22), which does not write `{"type": "long"}` as `"long"` where
    /// the type is a logical one. Its single objects bear the fingerprint of this form.
    Unreduced,
}

/// The CRC-64-AVRO fingerprint of the canonical form of a schema given as JSON text.
pub fn fingerprint(schema: &[u8], style: Style) -> Result<u64, String> {
    canonical_form(schema, style).map(|text| rabin(text.as_bytes()))
}

/// The Parsing Canonical Form of a schema given as JSON text: what readers of its data must agree on, and no more.
pub fn canonical_form(schema: &[u8], style: Style) -> Result<String, String> {
    // parsing first bounds the depth and proves that every name is defined
    Schema::parse(schema)?;
    let json: Value = serde_json::from_slice(schema).map_err(|e| format!("the schema is not JSON: {e}"))?;
    let mut out = String::with_capacity(schema.len());
    Writer { style }.write_type(&mut out, &json, "");
    Ok(out)
}

/// Writes in a style.
#[derive(Clone, Copy)]
struct Writer {
    style: Style,
}

impl Writer {
    fn write_type(self, out: &mut String, json: &Value, space: &str) {
        match json {
            Value::String(name) if is_primitive(name) => write_text(out, name),
            Value::String(name) => write_text(out, &full_name(name, space)),
            Value::Array(branches) => write_list(out, branches, |out, branch| self.write_type(out, branch, space)),
            Value::Object(object) => self.write_object(out, object, space),
            _ => {}
        }
    }

    fn write_object(self, out: &mut String, object: &Map<String, Value>, space: &str) {
        let part = |name: &str| object.get(name).unwrap_or(&Value::Null);
        match part("type").as_str() {
            Some("array") => {
                out.push_str("{\"type\":\"array\",\"items\":");
                self.write_type(out, part("items"), space);
                out.push('}');
            }
            Some("map") => {
                out.push_str("{\"type\":\"map\",\"values\":");
                self.write_type(out, part("values"), space);
                out.push('}');
            }
            Some(kind @ ("record" | "error" | "enum" | "fixed")) => self.write_named(out, object, kind, space),
            Some(kind) if self.style == Style::Unreduced && is_primitive(kind) && is_logical(part("logicalType")) => {
                out.push_str("{\"type\":");
                write_text(out, kind);
                out.push('}');
            }
            // {"type": "long", "logicalType": …}, or a type wrapped once more
            _ => self.write_type(out, part("type"), space),
        }
    }

    fn write_named(self, out: &mut String, object: &Map<String, Value>, kind: &str, space: &str) {
        let part = |name: &str| object.get(name).unwrap_or(&Value::Null);
        let full = full_name(part("name").as_str().unwrap_or_default(), part("namespace").as_str().unwrap_or(space));
        let space = full.rsplit_once('.').map_or("", |(space, _)| space);
        out.push_str("{\"name\":");
        write_text(out, &full);
        out.push_str(",\"type\":");
        write_text(out, kind);
        match kind {
            "enum" => {
                out.push_str(",\"symbols\":");
                let symbols = part("symbols").as_array().map_or(&[][..], Vec::as_slice);
                write_list(out, symbols, |out, symbol| write_text(out, symbol.as_str().unwrap_or_default()));
            }
            "fixed" => {
                out.push_str(",\"size\":");
                out.push_str(&part("size").to_string());
            }
            _ => {
                out.push_str(",\"fields\":");
                let fields = part("fields").as_array().map_or(&[][..], Vec::as_slice);
                write_list(out, fields, |out, field| {
                    out.push_str("{\"name\":");
                    write_text(out, field.get("name").and_then(Value::as_str).unwrap_or_default());
                    out.push_str(",\"type\":");
                    self.write_type(out, field.get("type").unwrap_or(&Value::Null), space);
                    out.push('}');
                });
            }
        }
        out.push('}');
    }
}

fn write_list(out: &mut String, items: &[Value], mut write: impl FnMut(&mut String, &Value)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// A JSON string with the escapes that JSON demands and no others.
fn write_text(out: &mut String, text: &str) {
    out.push_str(&Value::from(text).to_string());
}

fn is_primitive(name: &str) -> bool {
    matches!(name, "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string")
}

/// The logical types that apache-avro knows; of others it sees the type alone.
fn is_logical(name: &Value) -> bool {
    let known = ["decimal", "uuid", "date", "time-millis", "time-micros", "duration", "big-decimal"];
    name.as_str().is_some_and(|name| {
        let name = name.strip_prefix("local-").unwrap_or(name);
        known.contains(&name) || matches!(name, "timestamp-millis" | "timestamp-micros" | "timestamp-nanos")
    })
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_string() } else { format!("{space}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::{Schema as Oracle, rabin::Rabin};

    #[test]
    fn fingerprints_match_the_published_vectors() {
        // Avro, share/test/data/schema-tests.txt
        for (schema, want) in [
            (r#""null""#, 7195948357588979594_i64),
            (r#"{"type":"null"}"#, 7195948357588979594),
            (r#""boolean""#, -6970731678124411036),
            (r#""int""#, 8247732601305521295),
            (r#""long""#, -3434872931120570953),
            (r#""float""#, 5583340709985441680),
            (r#""double""#, -8181574048448539266),
            (r#""bytes""#, 5746618253357095269),
            (r#"{"type":"string"}"#, -8142146995180207161),
        ] {
            assert_eq!(fingerprint(schema.as_bytes(), Style::Specification).unwrap() as i64, want, "{schema}");
        }
        assert_eq!(rabin(b""), EMPTY);
    }

    #[test]
    fn canonical_forms_are_those_of_the_reference_implementation() {
        let canonical = std::str::from_utf8(include_bytes!("../../schemas/auth_event.avsc")).unwrap();
        for schema in [
            canonical,
            r#"{"type":"fixed","size":16,"name":"H","namespace":"a.b","doc":"x","aliases":["Q"]}"#,
            r#"{"name":"E","type":"enum","symbols":["A","B"],"default":"A","namespace":"n"}"#,
            r#"{"type":"array","items":{"type":"map","values":["null",{"type":"long","logicalType":"time-micros"}]}}"#,
            r#"{"type":"record","name":"x.y.Node","doc":"d","fields":[
                {"name":"next","default":null,"type":["null","Node"]},
                {"name":"kind","type":{"type":"enum","name":"K","namespace":"other","symbols":["Z"]}},
                {"name":"again","type":"other.K"},
                {"name":"h","type":{"type":"fixed","name":"H","size":4}},
                {"name":"h2","type":"H"},
                {"name":"sub","type":{"type":"record","name":"Sub","fields":[{"name":"s","type":"string"}]}}]}"#,
        ] {
            let oracle = Oracle::parse_str(schema).unwrap();
            assert_eq!(
                canonical_form(schema.as_bytes(), Style::Unreduced).unwrap(),
                oracle.canonical_form(),
                "{schema}"
            );
            let want = oracle.fingerprint::<Rabin>().bytes;
            assert_eq!(
                fingerprint(schema.as_bytes(), Style::Unreduced).unwrap().to_le_bytes()[..],
                want[..],
                "{schema}"
            );
        }
    }

    #[test]
    fn logical_types_are_no_part_of_the_form() {
        let schema = br#"["null",{"type":"long","logicalType":"timestamp-micros"},{"type":"string","x":1}]"#;
        assert_eq!(canonical_form(schema, Style::Specification).unwrap(), r#"["null","long","string"]"#);
        assert_eq!(canonical_form(schema, Style::Unreduced).unwrap(), r#"["null",{"type":"long"},"string"]"#);
    }

    #[test]
    fn what_is_no_schema_has_no_canonical_form() {
        for bad in ["", "{", "7", r#""nope""#, r#"{"type":"record","name":"R"}"#] {
            assert!(canonical_form(bad.as_bytes(), Style::Specification).is_err(), "{bad}");
        }
    }
}
