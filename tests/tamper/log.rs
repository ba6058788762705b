//! The transparency log: its batches, tiles and checkpoints, and what it shows of the chains. Made by what extends
//! logs, harmed by one who can write to the store, and by one who has stolen a key.

use super::*;
use authseal::{
    audit::{self, VerifyOptions},
    chain::Head,
    digest::Digest,
    error::Kind,
    health::Health,
    layout,
    log::{Logger, Options, Parts as LogParts, Queue},
    manifest::{Manifest, Writer},
    note::{Signer, Verifiers},
    retention::{LockMode, Retention, RetentionPolicy},
    segment::{self, Codec},
    store::memory::MemoryStore,
    tlog::{Batch, Checkpoint, Edge, Header, batch},
};
use bytes::Bytes;
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Minutes that the log lives: so many that tiles become full.
const MINUTES: i64 = 260;
/// Entries: thirteen manifests, and an alive entry for each minute.
const SIZE: u64 = 13 + MINUTES as u64;
const BATCHES: u64 = 3 + MINUTES as u64;

fn log_signer(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN, [seed; 32]).unwrap()
}

fn keys() -> Verifiers {
    let lines = format!("{}\n{}\n", signer(ORIGIN, 1).verifier_key(), log_signer(5).verifier_key());
    Verifiers::parse(&lines).unwrap()
}

/// The store of the lab, and its log: batch 0 has chain A, 1 has B and C, 2 has L, the rest that somebody lives.
static LOGGED: LazyLock<MemoryStore> = LazyLock::new(|| {
    let build = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = memory(&STORE).await;
            let (queue, clock) = (Queue::default(), Arc::new(AtomicI64::new(BEGAN)));
            let now = clock.clone();
            let parts = LogParts {
                store: Arc::new(store.clone()),
                signer: Arc::new(log_signer(5)),
                keys: Arc::new(Verifiers::of(&log_signer(5))),
                seal_keys: Arc::new(Verifiers::of(&signer(ORIGIN, 1))),
                clock: Arc::new(move || now.load(Ordering::Relaxed)),
                publisher: None,
                health: Health::new(Duration::from_secs(60)),
                queue: queue.clone(),
            };
            let writer = Writer { version: "0.1.0".into(), instance: "test".into() };
            let retention = RetentionPolicy { mode: LockMode::None, period: Duration::ZERO };
            let mut logger = Logger::new(parts, Options::new(ORIGIN, writer, retention));
            // opening an incarnation looks at those before it
            for text in [A, C, L] {
                queue.opened(&chain(text), Some(0));
                logger.turn().await.unwrap();
            }
            for minute in 1..=MINUTES {
                clock.store(BEGAN + minute * 60_000, Ordering::Relaxed);
                logger.turn().await.unwrap();
            }
            store
        })
    };
    std::thread::spawn(build).join().unwrap()
});

async fn audit_of(store: &MemoryStore, keys: &Verifiers, edit: impl FnOnce(&mut VerifyOptions)) -> Report {
    let mut options = VerifyOptions { jobs: 2, ..VerifyOptions::new(NOW) };
    edit(&mut options);
    audit::verify(Arc::new(store.clone()), keys, options).await.unwrap()
}

/// Lets the attacker at a copy, and compares what the audit says.
async fn harmed(name: &str, harm: impl AsyncFnOnce(&MemoryStore), exit: u8, expected: &[&str]) -> Report {
    let store = LOGGED.fork();
    harm(&store).await;
    let report = audit_of(&store, &keys(), |options| options.require_log = true).await;
    assert_eq!(failures(&report), expected, "{name}\n{report}");
    assert_eq!(report.exit_code(), exit, "{name}\n{report}");
    independent::agrees_on(name, &store, &keys().text(), &report).await;
    report
}

async fn read(store: &MemoryStore, key: &str) -> Bytes {
    store.read_newest(key).await.unwrap().unwrap_or_else(|| panic!("{key}")).bytes
}

async fn edit(store: &MemoryStore, key: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = read(store, key).await.to_vec();
    edit(&mut bytes);
    store.replace(key, bytes);
}

async fn flip_in(store: &MemoryStore, key: &str) {
    edit(store, key, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    })
    .await;
}

async fn open(store: &MemoryStore, number: u64) -> Batch {
    Batch::open(&read(store, &layout::batch_key(number)).await, &keys(), ORIGIN).unwrap()
}

/// What a holder of the log's key signs over a batch, in perfect form.
fn forge(header: &Header, lines: &[String]) -> Bytes {
    let count = lines.len() as u64;
    let header = Header { count, size: header.first + count, ..header.clone() };
    Batch::seal(&header, lines, &log_signer(5)).unwrap().into()
}

/// Appends a batch with the log's key, as somebody does who leaves out the checks.
async fn append(store: &MemoryStore, lines: &[String]) {
    let (mut edge, mut full, mut previous) = (Edge::default(), Vec::new(), None);
    for number in 0..BATCHES {
        let batch = open(store, number).await;
        batch.lines.iter().for_each(|line| edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut full));
        previous = Some(batch.hash);
    }
    let first = edge.size();
    lines.iter().for_each(|line| edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut full));
    let header = Header {
        format: batch::FORMAT.into(),
        origin: ORIGIN.into(),
        batch: BATCHES,
        previous,
        first,
        count: lines.len() as u64,
        size: edge.size(),
        root: edge.root(),
    };
    store.replace(&layout::batch_key(BATCHES), forge(&header, lines));
}

fn checkpoint(size: u64, root: Digest, signer: &Signer) -> String {
    Checkpoint { origin: ORIGIN.into(), size, root }.sign(signer).unwrap()
}

fn tail() -> String {
    layout::batch_key(BATCHES)
}

#[tokio::test]
async fn an_untouched_log_passes() {
    let report = harmed("nothing", async |_| {}, 0, &[]).await;
    let log = report.log.as_ref().unwrap();
    assert_eq!((log.entries, log.batches, log.checkpoint, log.unknown), (SIZE, BATCHES, Some(SIZE), 0));
    assert_eq!((log.pending, log.unlogged, report.finding_counts.notices), (0, 0, 0));
    let manual = include_str!("../../docs/verify.md");
    let json = serde_json::to_value(log).unwrap();
    for field in json.as_object().unwrap().keys() {
        assert!(manual.contains(&format!("`{field}`")), "docs/verify.md does not describe {field}");
    }
    assert!(report.to_string().contains("log      273 entries in 263 batches, checkpoint of 273"), "{report}");
}

#[tokio::test]
async fn what_is_logged_and_not_there_is_removed() {
    let remove = |keys: Vec<String>| async move |store: &MemoryStore| keys.iter().for_each(|key| store.remove(key));
    let newest = harmed("the newest", remove(vec![key(A, 4)]), 11, &["removed main/auth/0/0#4"]).await;
    let finding = &newest.findings[0];
    assert!(finding.detail.ends_with("; with them offsets 30 to 39"), "{}", finding.detail);
    harmed("the newest two", remove(vec![key(A, 3), key(A, 4)]), 11, &["removed main/auth/0/0#3..5"]).await;
    let topic: Vec<String> = (0..3).map(|n| key(L, n)).collect();
    harmed("a whole topic", remove(topic), 11, &["removed main/logins/0/0#0..3"]).await;
    harmed("a middle one", remove(vec![key(A, 2)]), 11, &["missing_segment main/auth/0/0#2"]).await;
    let all = STORE.keys().filter(|key| key.starts_with(layout::CHAINS)).cloned().collect();
    let every =
        ["no_chains ", "removed main/auth/0/0#0..5", "removed main/auth/1/0#0..2", "removed main/auth/1/1#0..3"];
    harmed("all of them", remove(all), 11, &[&every[..], &["removed main/logins/0/0#0..3"]].concat()).await;
}

/// Seals what comes behind the first segments of chain A, with a seal key that the auditor trusts.
fn resealed(keep: usize, sealed: i64) -> Bytes {
    let mut sealer = Sealer::new(A, Codec::Null);
    sealer.partitions = Some(2);
    let before = segment::open(&STORE[&key(A, keep as u64 - 1)], &keys()).unwrap();
    sealer.to = before.manifest.offsets.to;
    sealer.head = Some(Head::of_opened(&before));
    sealer.seal_edited(Part::Records(10), |m| m.times.sealed = sealed).bytes.clone()
}

#[tokio::test]
async fn a_stolen_seal_key_is_no_key_of_the_log() {
    let put = |sequence: usize, sealed: i64| {
        async move |store: &MemoryStore| store.replace(&key(A, sequence as u64), resealed(sequence, sealed))
    };
    let anew = BEGAN + 6 * 60_000;
    harmed("the newest sealed anew", put(4, anew), 10, &["log_mismatch main/auth/0/0#4"]).await;
    let middle = ["log_mismatch main/auth/0/0#2", "previous main/auth/0/0#3"];
    harmed("a middle one sealed anew", put(2, BEGAN + 3 * 60_000 + 1), 10, &middle).await;
    let report = harmed("one more", put(5, anew), 11, &["unlogged main/auth/0/0#5"]).await;
    assert_eq!(report.log.unwrap().unlogged, 1);
    // sealed half a minute ago: it need not be logged yet
    let report = harmed("one that is new", put(5, NOW - 30_000), 0, &[]).await;
    assert!(report.findings.iter().any(|f| f.name == "pending"), "{report}");
    assert_eq!(report.log.unwrap().pending, 1);
}

#[tokio::test]
async fn a_removed_batch() {
    let remove = |number: u64| async move |store: &MemoryStore| store.remove(&layout::batch_key(number));
    harmed("the first", remove(0), 11, &["log_batch_missing log/batches/000000000001"]).await;
    harmed("a middle one", remove(7), 11, &["log_batch_missing log/batches/000000000008"]).await;
    harmed("the newest", remove(BATCHES - 1), 11, &[&format!("log_truncated {}", layout::batch_key(BATCHES - 1))])
        .await;
    let all = async |store: &MemoryStore| (0..BATCHES).for_each(|number| store.remove(&layout::batch_key(number)));
    harmed("all of them", all, 11, &["log_missing log/batches/"]).await;
    let log = async |store: &MemoryStore| {
        store.keys().iter().filter(|key| key.starts_with(layout::LOG)).for_each(|key| store.remove(key));
    };
    harmed("the whole log", log, 11, &["log_missing log/batches/"]).await;
    // the tiles that were derived from it are still there, whatever checkpoint is put in place
    let back = async |store: &MemoryStore| {
        let before = open(store, BATCHES - 2).await;
        store.remove(&layout::batch_key(BATCHES - 1));
        store.replace(layout::CHECKPOINT, checkpoint(SIZE - 1, before.header.root, &log_signer(5)));
    };
    let left = ["log_tile log/tile/0/001.p/17", "log_tile log/tile/entries/001.p/17"];
    harmed("the newest, and an older checkpoint put back", back, 10, &left).await;
}

#[tokio::test]
async fn a_changed_batch() {
    let first = layout::batch_key(1);
    let told = |code: &str, number: u64| format!("{code} {}", layout::batch_key(number));
    let flipped = async |store: &MemoryStore| flip_in(store, &first).await;
    harmed("one bit", flipped, 10, &[&told("log_signature", 1)]).await;
    let cut = async |store: &MemoryStore| edit(store, &first, |bytes| bytes.truncate(bytes.len() / 2)).await;
    harmed("cut off", cut, 10, &[&told("log_form", 1)]).await;
    let other = async |store: &MemoryStore| store.replace(&first, read(store, &layout::batch_key(2)).await);
    harmed("another batch in its place", other, 10, &[&told("log_previous", 1)]).await;
    let unknown = async |store: &MemoryStore| {
        let text = String::from_utf8(read(store, &first).await.to_vec()).unwrap();
        let text = text.rsplit_once("\n\n").unwrap().0.to_owned() + "\n";
        store.replace(&first, log_signer(6).sign(&text).unwrap());
    };
    harmed("signed by another key", unknown, 10, &[&told("log_unknown_key", 1)]).await;
    let shadow = async |store: &MemoryStore| store.shadow(&first, "x");
    harmed("a shadow version", shadow, 13, &[&told("shadow_version", 1)]).await;
    let marked = async |store: &MemoryStore| store.mark_deleted(&first);
    harmed("a delete marker", marked, 13, &[&told("delete_marker", 1)]).await;
    let stray = async |store: &MemoryStore| store.replace("log/batches/1", "x");
    harmed("a stray object", stray, 10, &["unexpected_object log/batches/1"]).await;
    let stray = async |store: &MemoryStore| store.replace("log/notes.txt", "x");
    harmed("another stray object", stray, 10, &["unexpected_object log/notes.txt"]).await;
}

#[tokio::test]
async fn a_stolen_log_key() {
    let told = |code: &str, number: u64| format!("{code} {}", layout::batch_key(number));
    // one that leaves out a manifest, with the root that its own entries give
    let left_out = async |store: &MemoryStore| {
        let batch = open(store, BATCHES - 1).await;
        store.replace(&layout::batch_key(BATCHES - 1), forge(&batch.header, &["{\"format\":\"x\"}\n".to_owned()]));
    };
    harmed("another entry under the old root", left_out, 10, &[&told("log_root", BATCHES - 1)]).await;
    let middle = async |store: &MemoryStore| {
        let batch = open(store, 5).await;
        let header = Header { root: Digest::of(b"x"), ..batch.header.clone() };
        store.replace(&layout::batch_key(5), forge(&header, &batch.lines));
    };
    harmed("another root", middle, 10, &[&told("log_root", 5), &told("log_previous", 6)]).await;
    let second = async |store: &MemoryStore| {
        let line = open(store, 0).await.lines[2].clone();
        append(store, &[line]).await;
    };
    harmed("a manifest twice", second, 10, &["log_order main/auth/0/0#2"]).await;
    let ahead = async |store: &MemoryStore| {
        let line = open(store, 0).await.lines[4].clone();
        let line = edited(&line, |m: &mut Manifest| m.sequence = 7);
        append(store, &[line]).await;
    };
    let report =
        harmed("a hole in a chain", ahead, 10, &["log_order main/auth/0/0#7", "removed main/auth/0/0#5..8"]).await;
    assert!(report.findings[0].detail.contains("segment 7 of main/auth/0/0 follows segment 4"), "{report}");
    let bad = async |store: &MemoryStore| append(store, &["{\"format\":\"authseal/alive@1\"}\n".to_owned()]).await;
    harmed("an entry that is none", bad, 10, &[&format!("log_entry_form {}", tail())]).await;
    let unknown = async |store: &MemoryStore| append(store, &["{\"format\":\"authseal/key@9\"}\n".to_owned()]).await;
    let report = harmed("an entry of another version", unknown, 0, &[]).await;
    assert_eq!((report.log.as_ref().unwrap().unknown, report.findings[0].name), (1, "log_entry_unknown"), "{report}");
}

#[tokio::test]
async fn tiles_and_bundles() {
    let told = |code: &str, key: &str| vec![format!("{code} {key}")];
    for key in
        ["log/tile/0/000", "log/tile/0/001.p/17", "log/tile/entries/000", "log/tile/0/000.p/5", "log/tile/1/000.p/1"]
    {
        let expected = told("log_tile", key);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        harmed("changed", async |store: &MemoryStore| flip_in(store, key).await, 10, &expected).await;
    }
    for key in ["log/tile/0/000", "log/tile/0/001.p/17", "log/tile/entries/000", "log/tile/entries/001.p/17"] {
        let expected = told("log_tile_missing", key);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        harmed("removed", async |store: &MemoryStore| store.remove(key), 11, &expected).await;
    }
    // an older partial tile may be cleared away: the full one is there
    harmed("an old partial one removed", async |store: &MemoryStore| store.remove("log/tile/0/000.p/5"), 0, &[]).await;
    for key in ["log/tile/0/005", "log/tile/3/000.p/1", "log/tile/entries/001.p/99"] {
        let expected = told("log_tile", key);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        harmed("planted", async |store: &MemoryStore| store.replace(key, "x"), 10, &expected).await;
    }
    let stray = ["unexpected_object log/tile/0/0"];
    harmed("a stray one", async |store: &MemoryStore| store.replace("log/tile/0/0", "x"), 10, &stray).await;
}

#[tokio::test]
async fn checkpoints() {
    let put = |note: String| async move |store: &MemoryStore| store.replace(layout::CHECKPOINT, note);
    let newest = open(&LOGGED, BATCHES - 1).await.header;
    let older = open(&LOGGED, 10).await.header;
    let (ours, other) = (log_signer(5), log_signer(6));
    let good = |header: &Header| checkpoint(header.size, header.root, &ours);
    let at = |code: &str| format!("{code} log/checkpoint");
    harmed(
        "removed",
        async |store: &MemoryStore| store.remove(layout::CHECKPOINT),
        11,
        &[&at("log_checkpoint_missing")],
    )
    .await;
    harmed("garbage", put("x".into()), 10, &[&at("log_form")]).await;
    let forged = checkpoint(newest.size, newest.root, &other);
    harmed("by another key", put(forged), 10, &[&at("log_unknown_key")]).await;
    harmed("edited", put(good(&newest).replace("\n273\n", "\n272\n")), 10, &[&at("log_signature")]).await;
    let fork = checkpoint(newest.size, Digest::of(b"x"), &ours);
    harmed("of another history", put(fork), 10, &[&at("log_checkpoint")]).await;
    let beyond = checkpoint(newest.size + 1, Digest::of(b"x"), &ours);
    harmed("beyond the log", put(beyond), 11, &[&format!("log_truncated {}", tail())]).await;
    // as after a crash between batch and checkpoint
    harmed("an older one", put(good(&older)), 0, &[]).await;
}

#[tokio::test]
async fn a_checkpoint_that_was_kept_elsewhere() {
    let newest = open(&LOGGED, BATCHES - 1).await.header;
    let older = open(&LOGGED, 10).await.header;
    let ours = log_signer(5);
    let with = async |store: &MemoryStore, size: u64, root: Digest| {
        let note = checkpoint(size, root, &ours);
        audit_of(store, &keys(), |options| options.checkpoint = Some(note)).await
    };
    for header in [&older, &newest] {
        let report = with(&LOGGED, header.size, header.root).await;
        assert_eq!((failures(&report).len(), report.exit_code()), (0, 0), "{report}");
        assert_eq!(report.log.as_ref().unwrap().pinned, Some(header.size));
        assert!(report.to_string().contains("goes on from your checkpoint"), "{report}");
    }
    let report = with(&LOGGED, older.size, Digest::of(b"x")).await;
    assert_eq!((failures(&report), report.exit_code()), (vec!["checkpoint_fork log/batches/".to_owned()], 10));
    // everything newer removed, with the tiles, and an older checkpoint put back: only who remembers sees it
    let cut = LOGGED.fork();
    for key in cut.keys() {
        let beyond = layout::parse_batch_key(&key).is_some_and(|number| number > 10)
            || layout::parse_tile_key(&key).is_some_and(|tile| tile.index > 0 || u64::from(tile.width) > older.size);
        if beyond || key.starts_with("log/tile/1/") {
            cut.remove(&key);
        }
    }
    cut.replace(layout::CHECKPOINT, checkpoint(older.size, older.root, &ours));
    let report = audit_of(&cut, &keys(), |_| {}).await;
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.limits.iter().any(|limit| limit.contains("--checkpoint")), "and the report says so");
    let report = with(&cut, newest.size, newest.root).await;
    let told = format!("checkpoint_ahead {}", layout::batch_key(11));
    assert_eq!((failures(&report), report.exit_code()), (vec![told], 11));
    // what nobody whom the auditor trusts has signed is no checkpoint
    let forged = checkpoint(older.size, older.root, &log_signer(6));
    let options = VerifyOptions { checkpoint: Some(forged), ..VerifyOptions::new(NOW) };
    let error = audit::verify(Arc::new(LOGGED.fork()), &keys(), options).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
}

#[tokio::test]
async fn a_log_whose_key_is_not_given_and_a_log_that_must_be_there() {
    let seal_key = Verifiers::of(&signer(ORIGIN, 1));
    let report = audit_of(&LOGGED, &seal_key, |_| {}).await;
    assert_eq!((failures(&report), report.exit_code()), (vec!["log_key_missing log/".to_owned()], 11));
    assert!(report.log.is_none());
    let without = memory(&STORE).await;
    let report = audit_of(&without, &keys(), |options| options.require_log = true).await;
    assert_eq!((failures(&report), report.exit_code()), (vec!["log_missing log/batches/".to_owned()], 11));
    let report = audit_of(&without, &keys(), |_| {}).await;
    assert_eq!((failures(&report).len(), report.exit_code()), (0, 0));
    assert!(report.limits.iter().any(|limit| limit.contains("no transparency log")));
}

/// Whoever extends the log does not build on one that was tampered with.
#[tokio::test]
async fn nobody_extends_a_log_that_contradicts_itself() {
    let attempt = async |seen: bool, harm: &dyn Fn(&MemoryStore)| {
        let store = LOGGED.fork();
        if !seen {
            harm(&store);
        }
        let queue = Queue::default();
        let parts = LogParts {
            store: Arc::new(store.clone()),
            signer: Arc::new(log_signer(5)),
            keys: Arc::new(Verifiers::of(&log_signer(5))),
            seal_keys: Arc::new(Verifiers::of(&signer(ORIGIN, 1))),
            clock: Arc::new(|| NOW * 2),
            publisher: None,
            health: Health::new(Duration::from_secs(60)),
            queue: queue.clone(),
        };
        let writer = Writer { version: "0.1.0".into(), instance: "other".into() };
        let retention = RetentionPolicy { mode: LockMode::None, period: Duration::ZERO };
        let mut logger = Logger::new(parts, Options::new(ORIGIN, writer, retention));
        if seen {
            logger.turn().await.unwrap();
            harm(&store);
        }
        // something to enter: a segment of a chain that the log does not have
        let mut sealer = Sealer::new("main/extra/0/0", Codec::Null);
        let sealed = sealer.seal(Part::Heartbeat);
        let key = layout::segment_key(&sealed.manifest.chain, 0);
        store.create(&key, sealed.bytes.clone(), &Retention::NONE).await.unwrap();
        queue.sealed(&sealed.manifest);
        let result = logger.turn().await.map(|_| ()).map_err(|error| error.kind());
        let grown = store.read_oldest(&tail()).await.unwrap().is_some();
        assert_eq!(result.is_ok(), grown, "{result:?}");
        result
    };
    for seen in [false, true] {
        assert_eq!(attempt(seen, &|_| {}).await, Ok(()));
    }
    let newest = open(&LOGGED, BATCHES - 1).await.header;
    type Harm = Box<dyn Fn(&MemoryStore)>;
    let harms: [Harm; 6] = [
        Box::new(|store| store.remove(&layout::batch_key(BATCHES - 1))),
        Box::new(|store| store.replace(&layout::batch_key(BATCHES - 1), "x")),
        Box::new(move |store| {
            store.replace(layout::CHECKPOINT, checkpoint(newest.size, Digest::of(b"x"), &log_signer(5)));
        }),
        Box::new(|store| store.replace(layout::CHECKPOINT, "x")),
        Box::new(|store| store.replace("log/batches/x", "x")),
        Box::new(|store| store.replace(&layout::batch_key(layout::MAX_SEQUENCE), "x")),
    ];
    for (number, harm) in harms.iter().enumerate() {
        assert_eq!(attempt(false, harm).await, Err(Kind::Tampered), "harm {number}");
    }
    // a process that has seen more than what is shown to it now: a log cut off, or rewritten by a holder of its key
    let (last, before) = (open(&LOGGED, BATCHES - 1).await, open(&LOGGED, BATCHES - 2).await.header);
    let cut = move |store: &MemoryStore| {
        store.remove(&layout::batch_key(BATCHES - 1));
        store.replace(layout::CHECKPOINT, checkpoint(before.size, before.root, &log_signer(5)));
    };
    assert_eq!(attempt(true, &cut).await, Err(Kind::Tampered));
    let rewritten = move |store: &MemoryStore| {
        let header = Header { root: Digest::of(b"x"), ..last.header.clone() };
        store.replace(&layout::batch_key(BATCHES - 1), forge(&header, &last.lines));
    };
    assert_eq!(attempt(true, &rewritten).await, Err(Kind::Tampered));
    // tiles are derived: what is missing at the edge is made again
    assert_eq!(attempt(false, &|store| store.remove("log/tile/0/001.p/17")).await, Ok(()));
    assert_eq!(attempt(false, &|store| store.remove(layout::CHECKPOINT)).await, Ok(()));
}
