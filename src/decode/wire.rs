//! The wire formats: which schema the bytes of a value were written with, and where they begin.

use super::{
    CANONICAL_SCHEMA, Format,
    build::Builder,
    codes,
    fail::Fail,
    guard::{Mark, Rules},
    json,
    mapping::{self, Said},
    plan::Plan,
    run,
};
use crate::{
    artifact::File,
    avro::{
        canonical::{Style, fingerprint},
        schema::Schema,
    },
    error::{Error, Result},
    event::Text,
};
use std::{collections::BTreeMap, sync::Arc};

/// The path of the canonical schema among the files in force.
const CANONICAL_PATH: &str = "schemas/auth_event.avsc";
/// Confluent: a zero byte and the id.
const CONFLUENT_HEADER: usize = 5;
/// Single object: C3 01 and the fingerprint.
const SINGLE_OBJECT_HEADER: usize = 10;

/// Compiled schemas by the ids that records name: shared, for a decoder that knows more has those of the one before.
type PlansById = BTreeMap<u32, Arc<Plan>>;

/// How values are framed, with the compiled schemas.
pub(super) enum Wire {
    Avro(Box<Plan>),
    Confluent {
        plans: PlansById,
        /// Whether other ids are asked of a registry.
        open: bool,
    },
    SingleObject(BTreeMap<u64, Plan>),
    Json,
    Mapped(Box<Mapped>),
    Opaque,
}

/// A mapping, and how it is used here.
pub(super) struct Mapped {
    plan: mapping::Plan,
    /// Records are lines of text, not JSON.
    text: bool,
    zone: jiff::tz::TimeZone,
}

impl Wire {
    /// Compiles the schemas of a format; also returns them as the files in force.
    pub fn new(format: &Format, rules: &Rules) -> Result<(Self, Vec<File>)> {
        let canonical = || File { path: CANONICAL_PATH.into(), bytes: CANONICAL_SCHEMA.as_bytes().to_vec() };
        Ok(match format {
            Format::Avro { schema } => {
                let file = schema.clone().unwrap_or_else(canonical);
                (Self::Avro(Box::new(compile(&file, rules)?.1)), vec![file])
            }
            Format::Confluent { schemas } | Format::Registry { schemas } => {
                let (plans, files) = by_id(schemas.iter().map(|(id, file)| (*id, file)), rules)?;
                (Self::Confluent { plans, open: matches!(format, Format::Registry { .. }) }, files)
            }
            Format::SingleObject { schemas } => {
                let files = [vec![canonical()], schemas.clone()].concat();
                (Self::SingleObject(by_fingerprint(&files, rules)?), files)
            }
            Format::Json => (Self::Json, vec![canonical()]),
            Format::Mapped { mapping, text, zone } => {
                let plan = mapping::load(mapping).map_err(|problems| Error::config(problems.to_string()))?;
                let about = plan.about();
                if !(if *text { about.text } else { about.json }) {
                    let (wanted, has) = if *text { ("text", "json") } else { ("json", "text") };
                    let what = format!("the mapping {} reads {has}, not {wanted}: set the topic's format", about.name);
                    return Err(Error::config(what));
                }
                let zone = zone.clone().unwrap_or_else(|| plan.zone().clone());
                // the event's own fields are part of what is in force
                (Self::Mapped(Box::new(Mapped { plan, text: *text, zone })), vec![canonical(), mapping.clone()])
            }
            Format::Opaque => (Self::Opaque, Vec::new()),
        })
    }

    /// The schema id that must be asked of the registry before this value can be read.
    #[inline]
    pub fn wants(&self, value: &[u8]) -> Option<u32> {
        let Self::Confluent { plans, open: true } = self else { return None };
        let (0, id) = value.first_chunk::<CONFLUENT_HEADER>()?.split_first()? else { return None };
        let id = u32::from_be_bytes(id.try_into().ok()?);
        // registries count in Java's int
        (!plans.contains_key(&id) && i32::try_from(id).is_ok()).then_some(id)
    }

    /// Whether the schema of this id is known.
    pub fn knows(&self, id: u32) -> bool {
        matches!(self, Self::Confluent { plans, .. } if plans.contains_key(&id))
    }

    /// The same with schemas that came from the registry, and these as files in force.
    pub fn with_schemas(&self, schemas: &[(u32, File)], rules: &Rules) -> Result<(Self, Vec<File>)> {
        let Self::Confluent { plans, open: true } = self else {
            return Err(Error::bug("schemas came for a topic that asks no registry"));
        };
        let new = schemas.iter().filter(|(id, _)| !plans.contains_key(id)).map(|(id, file)| (*id, file));
        let (mut more, files) = by_id(new, rules)?;
        more.extend(plans.iter().map(|(id, plan)| (*id, plan.clone())));
        Ok((Self::Confluent { plans: more, open: true }, files))
    }

    /// Reads a value into an event. Also the schema id that the value names, whether it is known or not.
    pub fn read(&self, value: &[u8], builder: &mut Builder) -> (Option<Text>, Result<Said, Fail>) {
        let (id, read) = match self {
            Self::Mapped(mapped) if mapped.text => {
                return (None, mapping::read_line(&mapped.plan, &mapped.zone, value, builder));
            }
            Self::Mapped(mapped) => return (None, mapping::read_json(&mapped.plan, &mapped.zone, value, builder)),
            Self::Avro(plan) => (None, run::run(plan, value, 0, builder)),
            Self::Confluent { plans, .. } => read_confluent(plans, value, builder),
            Self::SingleObject(plans) => read_single_object(plans, value, builder),
            Self::Json => (None, json::read(value, builder)),
            Self::Opaque => (None, Ok(())),
        };
        (id, read.map(|()| Said::Event))
    }

    /// The withheld code of bytes that do not decode and could hold what must not be kept, without any trace of it:
    /// names stand in the schema, not in the bytes. JSON names what it holds.
    pub fn may_hold(&self, schema_id: Option<&str>, rules: &Rules) -> Option<&'static str> {
        let mark = match self {
            Self::Json | Self::Mapped(_) | Self::Opaque => return None,
            Self::Avro(plan) => plan.marked,
            Self::Confluent { plans, .. } => match schema_id.and_then(|id| plans.get(&id.parse().ok()?)) {
                Some(plan) => plan.marked,
                None => plans.values().find_map(|plan| plan.marked),
            },
            Self::SingleObject(plans) => match schema_id.and_then(|id| plans.get(&u64::from_str_radix(id, 16).ok()?)) {
                Some(plan) => plan.marked,
                None => plans.values().find_map(|plan| plan.marked),
            },
        };
        match mark {
            _ if rules.has_secrets() => Some(codes::WITHHELD_SECRET),
            Some(Mark { secret: true, .. }) => Some(codes::WITHHELD_SECRET),
            Some(_) => Some(codes::BIOMETRIC),
            None => None,
        }
    }
}

/// The plans of schemas by id, and the schemas as files in force: the ids are part of what is.
fn by_id<'a>(schemas: impl Iterator<Item = (u32, &'a File)>, rules: &Rules) -> Result<(PlansById, Vec<File>)> {
    let (mut plans, mut files) = (BTreeMap::new(), Vec::new());
    for (id, file) in schemas {
        let plan = compile(file, rules).map_err(|e| e.context(format!("schema id {id}")))?.1;
        plans.insert(id, Arc::new(plan));
        files.push(File { path: format!("confluent/{id}/{}", file.path), bytes: file.bytes.clone() });
    }
    Ok((plans, files))
}

fn compile(file: &File, rules: &Rules) -> Result<(Schema, Plan)> {
    let wrong = |e: String| Error::config(format!("schema {}: {e}", file.path));
    let schema = Schema::parse(&file.bytes).map_err(wrong)?;
    let plan = Plan::new(&schema, rules).map_err(wrong)?;
    Ok((schema, plan))
}

/// Each schema by its fingerprint, and by that which the Rust crate apache-avro gives it.
/// Fingerprints leave out aliases and logical types: two schemas that differ only in these cannot be told apart.
fn by_fingerprint(files: &[File], rules: &Rules) -> Result<BTreeMap<u64, Plan>> {
    let (mut plans, mut known) = (BTreeMap::new(), BTreeMap::<u64, (Schema, &File)>::new());
    for style in [Style::Specification, Style::Unreduced] {
        for file in files {
            let (schema, plan) = compile(file, rules)?;
            let wrong = |e: String| Error::config(format!("schema {}: {e}", file.path));
            let id = fingerprint(&file.bytes, style).map_err(wrong)?;
            match known.get(&id) {
                Some((other, _)) if *other == schema => {}
                Some((_, other)) => {
                    return Err(Error::config(format!(
                        "schemas {} and {} have one fingerprint but differ in aliases or logical types: keep one",
                        other.path, file.path
                    )));
                }
                None => {
                    known.insert(id, (schema, file));
                    plans.insert(id, plan);
                }
            }
        }
    }
    Ok(plans)
}

fn read_confluent(plans: &PlansById, value: &[u8], builder: &mut Builder) -> (Option<Text>, Result<(), Fail>) {
    if value.first() != Some(&0) {
        let fail = Fail::new(codes::WRONG_MAGIC, "the value does not begin with the byte 00 of the Confluent format");
        return (None, Err(fail.at(0)));
    }
    let Some(Ok(id)) = value.get(1..CONFLUENT_HEADER).map(<[u8; 4]>::try_from) else {
        return (None, Err(Fail::new(codes::TRUNCATED, "the bytes end within the schema id").at(value.len())));
    };
    let id = u32::from_be_bytes(id);
    let name = Some(compact_str::format_compact!("{id}"));
    match plans.get(&id) {
        Some(plan) => (name, run::run(plan, value, CONFLUENT_HEADER, builder)),
        None => (name, Err(Fail::new(codes::UNKNOWN_SCHEMA_ID, format!("schema id {id} is not known for this topic")))),
    }
}

fn read_single_object(
    plans: &BTreeMap<u64, Plan>,
    value: &[u8],
    builder: &mut Builder,
) -> (Option<Text>, Result<(), Fail>) {
    if !value.starts_with(&[0xc3, 0x01]) {
        let what = "the value does not begin with the bytes C3 01 of single-object encoding";
        return (None, Err(Fail::new(codes::WRONG_MAGIC, what).at(0)));
    }
    let Some(Ok(id)) = value.get(2..SINGLE_OBJECT_HEADER).map(<[u8; 8]>::try_from) else {
        return (None, Err(Fail::new(codes::TRUNCATED, "the bytes end within the fingerprint").at(value.len())));
    };
    let id = u64::from_le_bytes(id);
    let name = Some(compact_str::format_compact!("{id:016x}"));
    match plans.get(&id) {
        Some(plan) => (name, run::run(plan, value, SINGLE_OBJECT_HEADER, builder)),
        None => {
            let what = format!("no known schema has the fingerprint {id:016x}");
            (name, Err(Fail::new(codes::UNKNOWN_FINGERPRINT, what)))
        }
    }
}
