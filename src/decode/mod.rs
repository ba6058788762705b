//! From a record to an event or a rejection: bytes by schema, then validation. No I/O, no clock.
//!
//! Every record gets an outcome. What must not be kept (raw biometric material, configured secrets, values too large
//! to seal) is withheld: an HMAC stands for it, and no detail shows a piece of it. `docs/input.md` says what a
//! producer may send.

mod build;
pub mod codes;
pub mod compare;
pub mod enrich;
mod fail;
mod guard;
mod json;
pub mod mapping;
mod moment;
mod path;
mod place;
mod plan;
mod pseudonym;
mod run;
mod scalar;
#[cfg(test)]
mod tests;
mod trace;
mod wire;
mod withhold;

pub use build::{MAX_ATTRIBUTES, MAX_ITEMS, MAX_KEY, MAX_RAW, MAX_TEXT, WHYS};
pub use pseudonym::{PSEUDONYM_CLASSES, PSEUDONYM_PREFIX, Pseudonyms, key_id as pseudonym_key_id};

use crate::{
    artifact::File,
    error::{Error, Result},
    position::ChainId,
    record::{Decoded, Outcome, RawRecord, Rejection, Withheld},
};
use build::Builder;
use enrich::Enricher;
use fail::{Fail, Show};
use guard::{Found, Rules, scan};
use mapping::Said;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use wire::Wire;
use withhold::Macs;

/// The largest value that is sealed, and the largest key and headers together: 16 MiB.
pub const MAX_VALUE: usize = 16 * 1024 * 1024;

/// The canonical schema, `authseal.AuthEvent`, as JSON text.
pub const CANONICAL_SCHEMA: &str = include_str!("../../schemas/auth_event.avsc");

/// How the values of a topic are encoded.
#[derive(Debug, Clone)]
pub enum Format {
    /// Bare Avro, written with this schema (JSON text); the canonical one when `None`.
    Avro {
        /// The writer's schema.
        schema: Option<File>,
    },
    /// Confluent wire format: 0x00, 4-byte big-endian schema id, Avro. Ids mapped to schemas.
    Confluent {
        /// Schemas by id.
        schemas: BTreeMap<u32, File>,
    },
    /// The same, and ids that are not among these are asked of a schema registry: [`Decoder::wants`].
    Registry {
        /// Schemas by id that are not asked for.
        schemas: BTreeMap<u32, File>,
    },
    /// Avro single-object encoding: C3 01, 8-byte little-endian CRC-64-AVRO fingerprint, Avro. Known schemas; the
    /// canonical one always.
    SingleObject {
        /// Schemas that may be named.
        schemas: Vec<File>,
    },
    /// JSON with the canonical field names.
    Json,
    /// What another product writes, read through a mapping.
    Mapped {
        /// The mapping file.
        mapping: File,
        /// Whether records are lines of text; else they are JSON objects.
        text: bool,
        /// The zone of times without an offset, if not the one that the mapping names.
        zone: Option<jiff::tz::TimeZone>,
    },
    /// Sealed as it is.
    Opaque,
}

/// How a topic is read.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// How values are encoded.
    pub format: Format,
    /// `source` of events that name none.
    pub source: Option<String>,
    /// `tenant` of events that name none.
    pub tenant: Option<String>,
    /// Seal the event only, not the bytes it came from: they carry live secrets.
    pub keep_event_only: bool,
    /// Names of fields (or attributes, or JSON keys at any depth, in any case) whose presence makes a rejection.
    pub secret_fields: Vec<String>,
}

/// Why a schema registry gave no schema for an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One of [`codes`].
    pub code: &'static str,
    /// What goes into the rejection.
    pub detail: String,
}

/// Decodes and validates the records of one topic.
pub struct Decoder {
    wire: Wire,
    rules: Rules,
    macs: Macs,
    pseudonyms: Pseudonyms,
    enricher: Option<Arc<Enricher>>,
    source: Option<String>,
    tenant: Option<String>,
    files: Vec<File>,
    /// Makes every record panic, to show what becomes of it then.
    #[cfg(test)]
    panics: bool,
}

impl Decoder {
    /// Compiles the schemas. `mac_key` is the destroyable key of withheld values and pseudonymous ids.
    pub fn new(spec: TopicSpec, mac_key: &[u8; 32]) -> Result<Self> {
        if spec.secret_fields.iter().any(|name| name.trim().is_empty()) {
            return Err(Error::config("secret_fields holds an empty name: name the fields, or leave it out"));
        }
        let rules = Rules::new(&spec.secret_fields, spec.keep_event_only);
        let (wire, files) = Wire::new(&spec.format, &rules)?;
        Ok(Self {
            wire,
            rules,
            macs: Macs::new(mac_key),
            pseudonyms: Pseudonyms::of_withheld(mac_key),
            enricher: None,
            source: spec.source,
            tenant: spec.tenant,
            files,
            #[cfg(test)]
            panics: false,
        })
    }

    /// Puts pseudonyms under this key in place of identifiers, whatever is kept of a record.
    pub fn correlating(mut self, key: &[u8; 32]) -> Self {
        self.pseudonyms = Pseudonyms::new(key);
        self.rules.hashes = true;
        self
    }

    /// Fills events in.
    pub fn enriching(mut self, enricher: Arc<Enricher>) -> Self {
        self.enricher = Some(enricher);
        self
    }

    /// What becomes of a record. Never fails and never panics, whatever the bytes.
    pub fn decode(&self, chain: &ChainId, raw: &RawRecord) -> Decoded {
        self.decode_with(chain, raw, None)
    }

    /// The same, where a registry was asked for the schema that [`Decoder::wants`] names and refused it.
    pub fn decode_with(&self, chain: &ChainId, raw: &RawRecord, refusal: Option<&Refusal>) -> Decoded {
        let decoded = catch_unwind(AssertUnwindSafe(|| self.examine(chain, raw, refusal)));
        decoded.unwrap_or_else(|_| self.after_panic(raw))
    }

    /// The id of the schema that a record needs and that must be asked of the registry. Nothing where there is no
    /// registry, and for numbers that no registry gives.
    #[inline]
    pub fn wants(&self, raw: &RawRecord) -> Option<u32> {
        self.wire.wants(raw.value.as_deref()?)
    }

    /// Whether the schema of this id is known.
    pub fn knows(&self, id: u32) -> bool {
        self.wire.knows(id)
    }

    /// A decoder that knows these schemas as well, which came from the registry.
    pub fn with_schemas(&self, schemas: &[(u32, File)]) -> Result<Self> {
        let (wire, more) = self.wire.with_schemas(schemas, &self.rules)?;
        let mut files = self.files.clone();
        files.extend(more);
        Ok(Self {
            wire,
            rules: self.rules.clone(),
            macs: self.macs.clone(),
            source: self.source.clone(),
            tenant: self.tenant.clone(),
            files,
            pseudonyms: self.pseudonyms.clone(),
            enricher: self.enricher.clone(),
            #[cfg(test)]
            panics: self.panics,
        })
    }

    /// The schemas in force: they go to `artifacts/`. Those of Confluent ids are below `confluent/<id>/`.
    pub fn files(&self) -> Vec<File> {
        self.files.clone()
    }

    fn examine(&self, chain: &ChainId, raw: &RawRecord, refusal: Option<&Refusal>) -> Decoded {
        #[cfg(test)]
        assert!(!self.panics, "as the test wants");
        let value = raw.value.as_deref();
        if raw.size() - value.map_or(0, <[u8]>::len) > MAX_VALUE {
            let fail = Fail::new(codes::OVERSIZED_RECORD, "key and headers are larger than 16 MiB together");
            return self.rejected(&fail, Some(self.macs.record(fail.code(), raw)));
        }
        if !matches!(self.wire, Wire::Opaque)
            && let Some(fail) = self.examine_sides(raw)
        {
            return self.rejected(&fail, Some(self.macs.record(withhold::withheld_code(fail.code()), raw)));
        }
        let Some(value) = value else { return Decoded { outcome: Outcome::Opaque, withheld: None, schema_id: None } };
        if value.len() > MAX_VALUE {
            let what = format!("the value has {} bytes, more than 16 MiB", value.len());
            let fail = Fail::new(codes::OVERSIZED, what);
            return self.rejected(&fail, self.macs.value(fail.code(), raw));
        }
        if matches!(self.wire, Wire::Opaque) {
            return Decoded { outcome: Outcome::Opaque, withheld: self.kept(raw), schema_id: None };
        }
        if value.is_empty() {
            return self.rejected(&Fail::new(codes::EMPTY, "the value has no bytes"), self.kept(raw));
        }
        self.decode_value(chain, raw, value, refusal)
    }

    fn decode_value(&self, chain: &ChainId, raw: &RawRecord, value: &[u8], refusal: Option<&Refusal>) -> Decoded {
        let mut builder = Builder::new(&self.rules, raw);
        let (schema_id, read) = self.wire.read(value, &mut builder);
        let decoded = match read {
            Err(fail) if fail.code() == codes::UNKNOWN_SCHEMA_ID && refusal.is_some() => {
                let fail = refusal.map_or(fail, |r| Fail::new(r.code, r.detail.clone()));
                self.unreadable(fail, raw, value, schema_id.as_deref())
            }
            Err(fail) => self.unreadable(fail, raw, value, schema_id.as_deref()),
            // everything was looked at: what it holds may be kept
            Ok(Said::Unknown(fail)) => self.rejected(&fail, self.kept(raw)),
            Ok(Said::NotAnEvent) => Decoded { outcome: Outcome::Opaque, withheld: self.kept(raw), schema_id: None },
            Ok(Said::Event) => {
                match builder.finish(chain, raw.offset, self.source.as_deref(), self.tenant.as_deref()) {
                    // everything was looked at: what it holds may be kept
                    Err(fail) => self.rejected(&fail, self.kept(raw)),
                    Ok(mut event) => {
                        let mut withheld = self.kept(raw);
                        let besides = self.rules.hashes && self.pseudonyms.put(&mut event, raw);
                        if besides && self.rules.keep_event_only {
                            withheld = Some(self.macs.record(codes::WITHHELD_KEEP_EVENT, raw));
                        }
                        if let Some(enricher) = &self.enricher {
                            enricher.enrich(&mut event);
                        }
                        Decoded { outcome: Outcome::Event(event), withheld, schema_id: None }
                    }
                }
            }
        };
        Decoded { schema_id, ..decoded }
    }

    /// The bytes did not decode: what is in them is told by searching them.
    fn unreadable(&self, fail: Fail, raw: &RawRecord, value: &[u8], schema_id: Option<&str>) -> Decoded {
        if matches!(fail.code(), codes::BIOMETRIC | codes::SECRET_FIELD) {
            return self.rejected(&fail, self.macs.value(withhold::withheld_code(fail.code()), raw));
        }
        if let Some(found) = scan::scan(value, scan::Names::Anywhere, &self.rules) {
            let fail = found.fail("the value does not decode, and");
            return self.rejected(&fail, self.macs.value(withhold::withheld_code(fail.code()), raw));
        }
        // Avro carries no names: where a field could be one that must not be kept, the bytes are not
        let withheld = match self.wire.may_hold(schema_id, &self.rules) {
            Some(code) => self.macs.value(code, raw),
            None => self.kept(raw),
        };
        self.rejected(&fail, withheld)
    }

    /// Key and headers: nothing decodes them, yet they are sealed.
    fn examine_sides(&self, raw: &RawRecord) -> Option<Fail> {
        if let Some(found) = raw.key.as_ref().and_then(|key| guard::judge_part(key, &self.rules)) {
            return Some(found.fail("the key"));
        }
        raw.headers.iter().find_map(|header| {
            let found = guard::judge_header(&header.key, header.value.as_deref(), &self.rules)?;
            Some(found.fail("a header"))
        })
    }

    /// What stands for the value although nothing is wrong with it.
    fn kept(&self, raw: &RawRecord) -> Option<Withheld> {
        if self.rules.keep_event_only { self.macs.value(codes::WITHHELD_KEEP_EVENT, raw) } else { None }
    }

    fn rejected(&self, fail: &Fail, withheld: Option<Withheld>) -> Decoded {
        let show = match (self.rules.keep_event_only, &withheld) {
            (true, _) => Show::Nothing,
            (false, Some(_)) => Show::Names,
            (false, None) => Show::All,
        };
        Decoded { outcome: Outcome::Rejection(fail.rejection(show)), withheld, schema_id: None }
    }

    /// A defect: the record is sealed as a rejection all the same, and its bytes are kept only if a search of them
    /// comes to an end and finds nothing.
    fn after_panic(&self, raw: &RawRecord) -> Decoded {
        let search = || -> Option<Found> {
            let names = scan::Names::Anywhere;
            let sides = raw.headers.iter().flat_map(|h| [Some(&h.key), h.value.as_ref()]).chain([raw.key.as_ref()]);
            sides.chain([raw.value.as_ref()]).flatten().find_map(|part| scan::scan(part, names, &self.rules))
        };
        let withheld = match catch_unwind(AssertUnwindSafe(search)) {
            Ok(None) => match self.wire.may_hold(None, &self.rules) {
                Some(code) => self.macs.value(code, raw),
                None => self.kept(raw),
            },
            Ok(Some(found)) => Some(self.macs.record(withhold::withheld_code(found.code()), raw)),
            Err(_) => Some(self.macs.record(codes::INTERNAL, raw)),
        };
        let detail = "authseal failed on this record: report it with the record's position";
        Decoded { outcome: Outcome::Rejection(Rejection::new(codes::INTERNAL, detail)), withheld, schema_id: None }
    }
}
