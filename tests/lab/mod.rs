//! A small store made by the real writer, for auditors to check and for attackers to change; and the tools of an
//! attacker, who knows the format to the byte, can re-encode whatever he likes, and has no key.
#![allow(dead_code)] // each test file uses its own part

pub mod stores;

use authseal::{
    artifact,
    audit::{self, Report, VerifyOptions},
    avro::{Cursor, put_bytes, put_long},
    chain::Head,
    digest::Digest,
    event::{Activity, AuthEvent, Micros, Outcome},
    layout,
    manifest::*,
    note::{Signer, Verifiers},
    position::ChainId,
    record::{self, Decoded, Gap, GapCause, Header, RawRecord, Rejection, TimestampType},
    retention::Retention,
    segment::{self, Codec, Sealed, SegmentBuilder},
    store::{Store, dir::DirStore, memory::MemoryStore},
    store_info::StoreInfo,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

pub const ORIGIN: &str = "example.com/auth";
/// When the first segment was sealed: 2026-01-01.
pub const BEGAN: i64 = 1_767_225_600_000;
/// When the audit runs: an hour later. Every chain has promised to be back by then, or later.
pub const NOW: i64 = BEGAN + 3_600_000;

pub type Objects = BTreeMap<String, Bytes>;

pub fn signer(origin: &str, seed: u8) -> Signer {
    Signer::from_seed(&format!("{origin}/seal"), [seed; 32]).unwrap()
}

pub fn chain(text: &str) -> ChainId {
    text.parse().unwrap()
}

pub fn key(chain_text: &str, sequence: u64) -> String {
    layout::segment_key(&chain(chain_text), sequence)
}

/// A record of every kind, told by its offset.
pub fn decoded(offset: i64) -> (RawRecord, Decoded) {
    let event = AuthEvent {
        event_id: format!("e-{offset}").into(),
        time: Micros((BEGAN + offset) * 1000),
        source: "sshd".into(),
        activity: Activity::Logon,
        outcome: Outcome::Failure,
        user: Some(format!("user{}", offset % 7).into()),
        src_ip: Some("203.0.113.7".into()),
        ..AuthEvent::default()
    };
    let outcome = match offset % 10 {
        7 => record::Outcome::Rejection(Rejection::new("trailing_bytes", "3 bytes follow the event")),
        8 => record::Outcome::Opaque,
        _ => record::Outcome::Event(Box::new(event)),
    };
    let raw = RawRecord {
        offset,
        timestamp: BEGAN + offset,
        timestamp_type: TimestampType::CreateTime,
        key: Some(Bytes::from(format!("user{}", offset % 7))),
        headers: vec![Header { key: Bytes::from_static(b"trace\xff"), value: None }],
        value: (offset % 10 != 8).then(|| Bytes::from(format!("{{\"user\":\"user{}\",\"n\":{offset}}}", offset % 7))),
    };
    (raw, Decoded { outcome, withheld: None, schema_id: None })
}

/// What a segment of the test is made of.
#[derive(Clone, Copy)]
pub enum Part {
    /// So many records.
    Records(i64),
    /// Records around a gap of so many offsets.
    Gap(i64, GapCause, i64),
    Heartbeat,
    Close,
}

/// Seals one chain, segment by segment.
pub struct Sealer {
    pub signer: Signer,
    pub origin: String,
    pub chain: ChainId,
    pub codec: Codec,
    pub partitions: Option<i64>,
    pub artifacts: Artifacts,
    pub start: Option<Start>,
    pub head: Option<Head>,
    pub to: i64,
    pub out: Vec<Sealed>,
}

impl Sealer {
    pub fn new(chain_text: &str, codec: Codec) -> Self {
        Self {
            signer: signer(ORIGIN, 1),
            origin: ORIGIN.into(),
            chain: chain(chain_text),
            codec,
            partitions: None,
            artifacts: Artifacts::default(),
            start: Some(Start { reason: StartReason::New, detail: "first seen".into(), previous: None }),
            head: None,
            to: 0,
            out: Vec::new(),
        }
    }

    pub fn draft(&self, part: Part) -> segment::Draft {
        let mut builder = SegmentBuilder::new(self.to, self.codec, 3);
        let records = |builder: &mut SegmentBuilder, n: i64| {
            for _ in 0..n {
                let (raw, decoded) = decoded(builder.to());
                builder.push_record(&raw, &decoded).unwrap();
            }
        };
        match part {
            Part::Records(n) => records(&mut builder, n),
            Part::Gap(n, cause, gap) => {
                records(&mut builder, n);
                let from = builder.to();
                builder.push_gap(Gap { from, to: from + gap, cause }).unwrap();
                records(&mut builder, n);
            }
            Part::Heartbeat | Part::Close => {}
        }
        builder.finish().unwrap()
    }

    pub fn manifest(&self, part: Part, draft: &segment::Draft) -> Manifest {
        let sequence = self.head.as_ref().map_or(0, |h| h.sequence + 1);
        let sealed = BEGAN + 60_000 * (sequence as i64 + 1) + 3_600_000 * i64::from(self.chain.incarnation) / 2;
        Manifest {
            format: FORMAT.into(),
            origin: self.origin.clone(),
            chain: self.chain.clone(),
            sequence,
            previous: self.head.as_ref().map(|h| h.hash),
            start: self.start.clone().filter(|_| sequence == 0),
            kind: match part {
                Part::Heartbeat => SegmentKind::Heartbeat,
                Part::Close => SegmentKind::Close,
                Part::Records(_) | Part::Gap(..) => SegmentKind::Data,
            },
            offsets: draft.offsets,
            counts: draft.counts,
            root: draft.root,
            body: Body { bytes: draft.body.len() as i64, sha256: Digest::of(&draft.body) },
            schema: segment::schema_digest(),
            times: Times { sealed, ..draft.times },
            next_by: sealed + 2 * 3_600_000,
            broker: Broker {
                cluster_id: Some("kafka-1".into()),
                topic_id: Some(format!("topic-id-of-{}-{}", self.chain.topic, self.chain.incarnation)),
                partitions: self.partitions,
                leader_epoch: Some(3),
                log_start: Some(0),
                last_stable: Some(draft.offsets.to + 5),
                high_watermark: Some(draft.offsets.to + 6),
            },
            artifacts: self.artifacts,
            writer: Writer { version: "0.1.0".into(), instance: "test".into() },
            retention: Retention::NONE,
            index: None,
        }
    }

    /// Seals the next segment; `edit` may change what is signed.
    pub fn seal_edited(&mut self, part: Part, edit: impl FnOnce(&mut Manifest)) -> &Sealed {
        let draft = self.draft(part);
        let mut manifest = self.manifest(part, &draft);
        edit(&mut manifest);
        let sealed = segment::seal(draft, manifest, &self.signer).unwrap();
        self.head = Some(Head::of_sealed(&sealed));
        self.to = sealed.manifest.offsets.to;
        self.out.push(sealed);
        self.out.last().unwrap()
    }

    pub fn seal(&mut self, part: Part) -> &Sealed {
        self.seal_edited(part, |_| {})
    }

    pub fn put(&self, objects: &mut Objects) {
        for sealed in &self.out {
            objects.insert(layout::segment_key(&self.chain, sealed.manifest.sequence), sealed.bytes.clone());
        }
    }
}

pub fn store_json(origin: &str) -> Bytes {
    StoreInfo::new(origin, BEGAN).line().unwrap().into()
}

/// Two topics; one partition was reset; one topic was closed. Every kind of record, every codec, a heartbeat, gaps of
/// causes that do not make a store incomplete.
///
/// | chain | segments | offsets |
/// |---|---|---|
/// | main/auth/0/0 | 0 1 2 heartbeat 4 | 0 10 20 30 30 40, uncompressed |
/// | main/auth/1/0 | 0 1 | 0 10 20 |
/// | main/auth/1/1 | 0 1 2 | 0 14 24 34 |
/// | main/logins/0/0 | 0 1 close | 0 10 20 20 |
pub static STORE: LazyLock<Objects> = LazyLock::new(|| {
    let mut objects = Objects::new();
    objects.insert(layout::STORE_JSON.into(), store_json(ORIGIN));
    let file = |path: &str| artifact::File { path: path.into(), bytes: path.as_bytes().to_vec() };
    let (rules, rule_bytes) = artifact::bundle(vec![file("brute_force.rhai"), file("lists/offices.txt")]);
    let (decode, decode_bytes) = artifact::bundle(vec![file("auth_event.avsc")]);
    objects.insert(layout::artifact_key(&rules), rule_bytes.into());
    objects.insert(layout::artifact_key(&decode), decode_bytes.into());
    let artifacts = Artifacts { rules: Some(rules), decode: Some(decode) };
    let new =
        |text: &str, codec, partitions| Sealer { partitions: Some(partitions), artifacts, ..Sealer::new(text, codec) };

    let mut first = new("main/auth/0/0", Codec::Null, 2);
    for part in [Part::Records(10), Part::Records(10), Part::Records(10), Part::Heartbeat, Part::Records(10)] {
        first.seal(part);
    }
    let mut before = new("main/auth/1/0", Codec::Zstandard, 2);
    before.seal(Part::Records(10));
    let last = before.seal(Part::Records(10)).hash;
    let mut after = new("main/auth/1/1", Codec::Deflate, 2);
    after.start = Some(Start { reason: StartReason::Reset, detail: "topic re-created".into(), previous: Some(last) });
    after.seal(Part::Gap(5, GapCause::BeforeChain, 4));
    after.seal(Part::Gap(4, GapCause::NotDelivered, 2));
    after.seal(Part::Records(10));
    let mut closed = new("main/logins/0/0", Codec::Snappy, 1);
    for part in [Part::Records(10), Part::Records(10), Part::Close] {
        closed.seal(part);
    }
    for sealer in [first, before, after, closed] {
        sealer.put(&mut objects);
    }
    objects
});

/// A store in a real directory, and the hands of an attacker on it.
pub struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    /// `objects`, put there by the store itself.
    pub async fn of(objects: &Objects) -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap() };
        let store = lab.store();
        for (key, bytes) in objects {
            store.create(key, bytes.clone(), &Retention::NONE).await.unwrap();
        }
        lab
    }

    pub fn store(&self) -> DirStore {
        DirStore::new(self.folder.path())
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(key)
    }

    pub fn read(&self, key: &str) -> Vec<u8> {
        fs::read(self.path(key)).unwrap()
    }

    pub fn write(&self, key: &str, bytes: &[u8]) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).unwrap();
    }

    pub fn remove(&self, key: &str) {
        let path = self.path(key);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::create_dir_all(self.path(to).parent().unwrap()).unwrap();
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn copy(&self, from: &str, to: &str) {
        self.write(to, &self.read(from));
    }

    pub fn swap(&self, one: &str, other: &str) {
        let (a, b) = (self.read(one), self.read(other));
        self.write(one, &b);
        self.write(other, &a);
    }

    pub fn edit(&self, key: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(key);
        edit(&mut bytes);
        self.write(key, &bytes);
    }

    /// Takes a segment apart, lets `edit` change it, and puts it together again in perfect form.
    pub fn rebuild(&self, key: &str, edit: impl FnOnce(&mut Parts)) {
        let mut parts = Parts::of(&self.read(key));
        edit(&mut parts);
        self.write(key, &parts.assemble());
    }

    pub async fn verify(&self) -> Report {
        verify(Arc::new(self.store()), &Verifiers::of(&signer(ORIGIN, 1))).await
    }
}

pub async fn memory(objects: &Objects) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, bytes) in objects {
        store.create(key, bytes.clone(), &Retention::NONE).await.unwrap();
    }
    store
}

pub async fn verify(store: Arc<dyn Store>, keys: &Verifiers) -> Report {
    audit::verify(store, keys, VerifyOptions { jobs: 2, ..VerifyOptions::new(NOW) }).await.unwrap()
}

/// The parts of an object container file.
#[derive(Clone)]
pub struct Parts {
    pub codec: String,
    pub schema: Vec<u8>,
    /// The signed note.
    pub note: String,
    pub sync: [u8; 16],
    pub body: Vec<u8>,
}

impl Parts {
    pub fn of(bytes: &[u8]) -> Self {
        let mut cursor = Cursor::strict(bytes);
        assert_eq!(cursor.take(4).unwrap(), b"Obj\x01");
        assert_eq!(cursor.long().unwrap(), 3);
        let mut values = Vec::new();
        for _ in 0..3 {
            cursor.bytes().unwrap();
            values.push(cursor.bytes().unwrap().to_vec());
        }
        assert_eq!(cursor.long().unwrap(), 0);
        let sync = cursor.take(16).unwrap().try_into().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let note = text(values.pop().unwrap());
        let schema = values.pop().unwrap();
        Self { codec: text(values.pop().unwrap()), schema, note, sync, body: cursor.rest().to_vec() }
    }

    pub fn assemble(&self) -> Vec<u8> {
        let mut out = b"Obj\x01".to_vec();
        put_long(&mut out, 3);
        for (key, value) in [
            ("avro.codec", self.codec.as_bytes()),
            ("avro.schema", &self.schema),
            ("authseal.manifest", self.note.as_bytes()),
        ] {
            put_bytes(&mut out, key.as_bytes());
            put_bytes(&mut out, value);
        }
        put_long(&mut out, 0);
        out.extend_from_slice(&self.sync);
        out.extend_from_slice(&self.body);
        out
    }

    /// Where the parts begin and end in the object: (name, from, to).
    pub fn regions(&self) -> Vec<(&'static str, usize, usize)> {
        let bytes = self.assemble();
        let find = |part: &[u8]| bytes.windows(part.len()).position(|w| w == part).unwrap();
        let schema = find(&self.schema);
        let note = find(self.note.as_bytes());
        let signature = note + self.note.rfind("\n\n").unwrap() + 2;
        let after = note + self.note.len();
        let sync = bytes.len() - self.body.len() - 16;
        vec![
            ("magic", 0, 4),
            ("header", 4, schema),
            ("schema", schema, schema + self.schema.len()),
            ("manifest", note, signature - 1),
            ("signature", signature, after),
            ("sync", sync, sync + 16),
            ("body", sync + 16, bytes.len()),
        ]
    }

    pub fn manifest_line(&self) -> &str {
        &self.note[..=self.note.find('\n').unwrap()]
    }

    /// Replaces the text of the manifest and keeps the signature, which then does not fit.
    pub fn set_manifest_line(&mut self, line: &str) {
        self.note = format!("{line}{}", &self.note[self.manifest_line().len()..]);
    }

    /// Changes the manifest as one who knows the format does, and keeps the old signature.
    pub fn edit_manifest(&mut self, edit: impl FnOnce(&mut Manifest)) {
        let line = edited(self.manifest_line(), edit);
        self.set_manifest_line(&line);
    }

    /// The leaves, each as its bytes. For the codec `null` only.
    pub fn leaves(&self, from: i64) -> Vec<Vec<u8>> {
        assert_eq!(self.codec, "null");
        let mut cursor = Cursor::strict(&self.body);
        let mut leaves = Vec::new();
        let mut offset = from;
        while !cursor.rest().is_empty() {
            let count = cursor.long().unwrap();
            let mut data = cursor.bytes().unwrap();
            cursor.take(16).unwrap();
            for _ in 0..count {
                let leaf = leaf(offset);
                assert!(data.starts_with(&leaf), "the record at {offset} is another one");
                data = &data[leaf.len()..];
                leaves.push(leaf);
                offset += 1;
            }
            assert!(data.is_empty());
        }
        leaves
    }

    /// Packs leaves into one block, with the sync marker in place.
    pub fn set_leaves(&mut self, leaves: &[Vec<u8>]) {
        assert_eq!(self.codec, "null");
        self.body.clear();
        put_long(&mut self.body, leaves.len() as i64);
        put_bytes(&mut self.body, &leaves.concat());
        self.body.extend_from_slice(&self.sync);
    }

    /// Makes root, body and counts of the manifest true again, as an attacker would who cannot sign.
    pub fn remake_manifest(&mut self, leaves: &[Vec<u8>]) {
        let (body, root) = (Body { bytes: self.body.len() as i64, sha256: Digest::of(&self.body) }, root(leaves));
        let records = leaves.len() as i64;
        self.edit_manifest(|m| {
            m.body = body;
            m.root = root;
            m.counts.events -= m.counts.records - records;
            m.counts.records = records;
        });
    }
}

/// A manifest line with another content.
pub fn edited(line: &str, edit: impl FnOnce(&mut Manifest)) -> String {
    let mut manifest: Manifest = serde_json::from_str(line).unwrap();
    edit(&mut manifest);
    serde_json::to_string(&manifest).unwrap() + "\n"
}

/// The leaf of one record, from a segment that holds it alone.
pub fn leaf(offset: i64) -> Vec<u8> {
    let (raw, decoded) = decoded(offset);
    leaf_of(&raw, &decoded)
}

pub fn leaf_of(raw: &RawRecord, decoded: &Decoded) -> Vec<u8> {
    let mut builder = SegmentBuilder::new(raw.offset, Codec::Null, 1);
    builder.push_record(raw, decoded).unwrap();
    let body = builder.finish().unwrap().body;
    let mut cursor = Cursor::strict(&body);
    assert_eq!(cursor.long().unwrap(), 1);
    cursor.bytes().unwrap().to_vec()
}

/// The RFC 6962 tree hash, as the RFC defines it.
pub fn root(leaves: &[Vec<u8>]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => Digest::leaf(leaf),
        _ => {
            let half = leaves.len().next_power_of_two() / 2;
            Digest::node(&root(&leaves[..half]), &root(&leaves[half..]))
        }
    }
}
