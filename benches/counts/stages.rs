//! The stages: what is counted, and over which events.

use crate::{
    ALLOCATIONS,
    common::{self, NOW},
    traffic::{Kind, Traffic},
};
use authseal::{
    audit::{self, VerifyOptions},
    backtest,
    decode::{Format, mapping},
    detect::{Detector, Finding, Input, Limits, RuleSet},
    digest::Digest,
    event::{AuthEvent, Field, Value},
    merkle::Tree,
    note::Verifiers,
    record::{Decoded, Outcome, RawRecord},
    segment::{self, Codec, read},
};
use serde_json::{Value as Json, json};
use std::{
    fmt,
    hint::black_box,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Everybody in the traffic that rules judge: few, so that all are known after the first pass.
const PEOPLE: u64 = 500;

/// What was counted without valgrind.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The stage.
    pub name: String,
    /// How many events went through it.
    pub events: usize,
    /// Allocations an event.
    pub allocations: f64,
    /// Nanoseconds of CPU an event, of the thread that began it. Under valgrind they say nothing.
    pub nanos: f64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{:.4}\t{:.0}", self.name, self.events, self.allocations, self.nanos)
    }
}

impl Told {
    /// As it was shown; none if it is another line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split('\t');
        let name = parts.next()?.into();
        let (events, allocations) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { name, events, allocations, nanos: parts.next()?.parse().ok()? })
    }
}

/// Callgrind writes down what it counted when this is called, and begins anew.
#[inline(never)]
fn a_stage_begins(name: &str) {
    black_box(name);
}

/// The same.
#[inline(never)]
fn a_stage_ends(name: &str) {
    black_box(name);
}

#[derive(Default)]
struct Meter {
    told: Vec<Told>,
}

impl Meter {
    /// Does it twice and counts the second time. What it returns is dropped in between and behind.
    fn twice<T>(&mut self, name: &str, events: usize, mut work: impl FnMut() -> T) {
        drop(black_box(work()));
        self.once(name, events, work);
    }

    fn once<T>(&mut self, name: &str, events: usize, work: impl FnOnce() -> T) {
        let (began, before) = (common::cpu_nanos(), ALLOCATIONS.load(Relaxed));
        a_stage_begins(name);
        let done = work();
        a_stage_ends(name);
        let allocations = (ALLOCATIONS.load(Relaxed) - before) as f64 / events as f64;
        let nanos = (common::cpu_nanos() - began) as f64 / events as f64;
        drop(black_box(done));
        self.told.push(Told { name: name.into(), events, allocations, nanos });
    }
}

/// Runs all of them over so many events each.
pub fn run(events: usize) -> Vec<Told> {
    let mut meter = Meter::default();
    let records = common::records(events);
    let chain = common::chain(0);
    decoding(&mut meter, &records);
    let decoder = common::decoder();
    let decoded: Vec<Decoded> = records.iter().map(|record| decoder.decode(&chain, record)).collect();
    sealing(&mut meter, &records, &decoded);
    judging(&mut meter, events);
    reading(&mut meter, &records);
    hold(&meter.told);
    meter.told
}

/// What must stay so: these stages allocate by segment and by block, not by event.
fn hold(told: &[Told]) {
    let without = [ENCODING, HASHING, SEALING, RECHECK, OPENING];
    for stage in told.iter().filter(|stage| without.contains(&stage.name.as_str())) {
        let Told { name, allocations, events, .. } = stage;
        // growing buffers and a note are some dozens a segment
        assert!(
            *allocations * (*events as f64) < 200.0 + *events as f64 / 100.0,
            "{name} allocates for events: {stage}"
        );
    }
}

const ENCODING: &str = "canonical encoding of an event";
const HASHING: &str = "leaf hash and tree";
const SEALING: &str = "segment: encode, hash, zstd";
const RECHECK: &str = "recheck before signing";
const OPENING: &str = "verify a segment";

fn decoding(meter: &mut Meter, records: &[RawRecord]) {
    let chain = common::chain(0);
    let mut decode = |name, format, records: &[RawRecord]| {
        let decoder = common::decoder_of(format);
        let is_event = |record: &RawRecord| matches!(decoder.decode(&chain, record).outcome, Outcome::Event(_));
        assert!(records.iter().all(is_event), "{name}: not all are events");
        meter.once(name, records.len(), || {
            records.iter().for_each(|record| drop(black_box(decoder.decode(&chain, black_box(record)))));
        });
    };
    decode("decode: Avro", Format::Avro { schema: None }, records);
    let decoder = common::decoder();
    let as_json: Vec<RawRecord> = records
        .iter()
        .map(|record| match decoder.decode(&chain, record).outcome {
            Outcome::Event(event) => RawRecord { value: Some(canonical_json(&event).into()), ..record.clone() },
            other => panic!("it was an event: {other:?}"),
        })
        .collect();
    decode("decode: JSON", Format::Json, &as_json);
    let lines: Vec<&str> = include_str!("../../tests/data/keycloak/events.ndjson").lines().collect();
    let from_keycloak: Vec<RawRecord> = records
        .iter()
        .zip(lines.iter().cycle())
        .map(|(record, line)| RawRecord { value: Some((*line).into()), timestamp: 1_796_083_200_000, ..record.clone() })
        .collect();
    let mapping = mapping::shipped("keycloak-event").expect("it is shipped");
    decode("decode: mapping of Keycloak", Format::Mapped { mapping, text: false, zone: None }, &from_keycloak);
}

/// As a producer writes it: what is not set is left out.
fn canonical_json(event: &AuthEvent) -> String {
    let value = |field: &Field| {
        let value: Json = match event.get(*field) {
            Value::Null => return None,
            Value::Text(text) => text.into(),
            Value::Symbol(symbol) => symbol.into(),
            Value::Long(number) => number.into(),
            Value::Micros(moment) => jiff::Timestamp::from_microsecond(moment.0).expect("a time").to_string().into(),
            Value::Double(number) => number.into(),
            Value::Bool(truth) => truth.into(),
            Value::Texts([]) => return None,
            Value::Texts(texts) => texts.iter().map(|text| text.to_string()).collect(),
            Value::Map(map) if map.is_empty() => return None,
            Value::Map(map) => map.iter().map(|(key, value)| (key.to_string(), json!(value.to_string()))).collect(),
        };
        Some((field.name().to_string(), value))
    };
    Json::Object(Field::ALL.iter().filter_map(value).collect()).to_string()
}

fn sealing(meter: &mut Meter, records: &[RawRecord], decoded: &[Decoded]) {
    let (chain, n) = (common::chain(0), records.len());
    let events: Vec<&AuthEvent> = decoded
        .iter()
        .filter_map(|decoded| if let Outcome::Event(event) = &decoded.outcome { Some(&**event) } else { None })
        .collect();
    let mut buffer = Vec::new();
    meter.twice(ENCODING, events.len(), || {
        for event in &events {
            buffer.clear();
            segment::encode_event(&mut buffer, black_box(event));
            black_box(&buffer);
        }
    });
    let object = common::sealed(records, &chain, n).pop().expect("a segment").1;
    let leaves: Vec<_> =
        read::records(&object).expect("a segment").map(|leaf| leaf.expect("it is whole").bytes).collect();
    meter.twice(HASHING, n, || {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(Digest::leaf(black_box(leaf))));
        tree.root()
    });
    meter.twice(SEALING, n, || common::draft(records, decoded, Codec::Zstandard));
    let (name, ready) = (format!("{}/seal", common::ORIGIN), || {
        let draft = common::draft(records, decoded, Codec::Zstandard);
        let manifest = common::manifest(&draft, &chain, None);
        (draft, manifest)
    });
    let (draft, manifest) = ready();
    drop(segment::prepare(draft, manifest, &name).expect("it reads back"));
    let (draft, manifest) = ready();
    meter.once(RECHECK, n, || segment::prepare(draft, manifest, &name).expect("it reads back"));
}

fn judging(meter: &mut Meter, events: usize) {
    let rules = common::ruleset();
    for (name, kind) in [("rules: known people at work", Kind::Ordinary), ("rules: a spray of passwords", Kind::Spray)]
    {
        let mut traffic = Traffic::among(kind, PEOPLE);
        // one in four of what is counted: rules are dear, and what they know of people takes events
        let counted = events / 4;
        let (before, batch) = (traffic.batch(events), traffic.batch(counted));
        let limits = Limits { state_bytes: 256 << 20, lateness: Duration::from_secs(300) };
        let (mut detector, chain) = (Detector::new(rules.clone(), limits), common::chain(0));
        let (mut findings, mut offset): (Vec<Finding>, i64) = (Vec::new(), 0);
        let mut judge = |outcomes: &[Outcome]| {
            for outcome in outcomes {
                let Outcome::Event(event) = outcome else { continue };
                offset += 1;
                let now = event.time.millis() + 20;
                let input = Input { chain: &chain, offset, timestamp: now, now, outcome };
                detector.judge(&input, &mut findings);
            }
        };
        judge(&before);
        meter.once(name, counted, || judge(&batch));
    }
}

fn reading(meter: &mut Meter, records: &[RawRecord]) {
    let (chain, n) = (common::chain(0), records.len());
    let keys = Verifiers::of(&common::signer());
    let objects = common::sealed(records, &chain, n);
    let object = objects[0].1.clone();
    meter.twice(OPENING, n, || segment::open(&object, &keys).expect("what was just sealed"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let store = Arc::new(runtime.block_on(common::store(&objects)));
    meter.twice("verify the store", n, || {
        let options = VerifyOptions { jobs: 1, ..VerifyOptions::new(NOW + 1_000_000) };
        let report = runtime.block_on(audit::verify(store.clone(), &keys, options)).expect("a report");
        assert_eq!((report.exit_code(), report.totals.segments), (0, 1), "{report}");
    });
    meter.twice("read records back", n, || {
        for leaf in read::records(&object).expect("a segment") {
            black_box(leaf.expect("it is whole").record().expect("it was sealed"));
        }
    });
    let nothing = Arc::new(RuleSet::empty());
    meter.twice("backtest without rules", n, || {
        let options = backtest::Options { limits: common::limits(), from: None, to: None, progress: Arc::default() };
        let reading = backtest::of_store(store.clone(), Some(keys.clone()), (None, None), options.progress.clone());
        let feed = runtime.block_on(reading).expect("a chain");
        let report = backtest::run(feed, &nothing, &options).expect("a report");
        assert_eq!(report.events as usize, n);
    });
}
