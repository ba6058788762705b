//! Proofs out of a store: every record of it is proven, nothing that is not there is, and whoever harmed what leads to
//! a record is found out.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;

use authseal::{
    audit::{
        Progress,
        prove::{self, Answer, By, Made, Why},
    },
    cli::exit,
    digest::Digest,
    error::Kind,
    health::Health,
    layout,
    log::{Logger, Options, Parts as LogParts, Queue},
    manifest::Writer,
    note::{Signer, Verifiers},
    position::Position,
    proof,
    retention::{LockMode, RetentionPolicy},
    segment::{Codec, LeafKind},
    store::{Store, memory::MemoryStore},
    tlog::{Batch, Checkpoint},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use lab::*;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

const CHAINS: [(&str, i64); 4] =
    [("main/auth/0/0", 40), ("main/auth/1/0", 20), ("main/auth/1/1", 34), ("main/logins/0/0", 20)];

fn log_key() -> Signer {
    Signer::from_seed(ORIGIN, [5; 32]).unwrap()
}

fn keys() -> Verifiers {
    let lines = format!("{}\n{}\n", signer(ORIGIN, 1).verifier_key(), log_key().verifier_key());
    Verifiers::parse(&lines).unwrap()
}

/// Logs the chains that are named, one after the other, each after so many minutes in which somebody lives.
async fn log(store: Arc<dyn Store>, turns: &[(&str, i64)]) {
    let (queue, clock) = (Queue::default(), Arc::new(AtomicI64::new(BEGAN)));
    let now = clock.clone();
    let parts = LogParts {
        store,
        signer: Arc::new(log_key()),
        keys: Arc::new(Verifiers::of(&log_key())),
        seal_keys: Arc::new(Verifiers::of(&signer(ORIGIN, 1))),
        clock: Arc::new(move || now.load(Ordering::Relaxed)),
        publisher: None,
        health: Health::new(Duration::from_secs(60)),
        queue: queue.clone(),
    };
    let writer = Writer { version: "0.1.0".into(), instance: "test".into() };
    let retention = RetentionPolicy { mode: LockMode::None, period: Duration::ZERO };
    let mut logger = Logger::new(parts, Options::new(ORIGIN, writer, retention));
    for (chain_text, minutes) in turns {
        for _ in 0..*minutes {
            clock.fetch_add(60_000, Ordering::Relaxed);
            logger.turn().await.unwrap();
        }
        if !chain_text.is_empty() {
            queue.opened(&chain(chain_text), Some(0));
        }
        logger.turn().await.unwrap();
    }
}

/// The store of the lab and a log of more than a tile, in which two chains stand hours behind the others.
static LOGGED: LazyLock<MemoryStore> = LazyLock::new(|| {
    let build = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = memory(&STORE).await;
            let turns = [("main/auth/0/0", 3), ("main/auth/1/1", 270), ("main/logins/0/0", 300), ("", 2)];
            log(Arc::new(store.clone()), &turns).await;
            store
        })
    };
    std::thread::spawn(build).join().unwrap()
});

async fn answer(store: &MemoryStore, position: &str, logged: bool) -> authseal::error::Result<Answer> {
    prove::prove(Arc::new(store.clone()), &keys(), &position.parse().unwrap(), logged.then(By::default)).await
}

async fn made(store: &MemoryStore, position: &str) -> Made {
    match answer(store, position, true).await.unwrap() {
        Answer::Made(made) => *made,
        Answer::Nothing(why) => panic!("{position}: {why}"),
    }
}

async fn nothing(store: &MemoryStore, position: &str) -> Why {
    match answer(store, position, true).await.unwrap() {
        Answer::Nothing(why) => why,
        Answer::Made(_) => panic!("{position} was proven"),
    }
}

#[tokio::test]
async fn every_offset_of_a_store_is_proven_as_what_was_sealed_there() {
    for (chain_text, to) in CHAINS {
        for offset in 0..to {
            let position = format!("{chain_text}@{offset}");
            let made = made(&LOGGED, &position).await;
            let checked = proof::check(made.file.as_bytes(), &keys()).unwrap();
            assert_eq!(checked, made.proven);
            let (statement, record) = (&checked.statement, &checked.statement.record);
            assert_eq!(statement.manifest.chain.to_string(), chain_text);
            assert!(record.offset <= offset && offset < statement.to(), "{position}");
            assert!(statement.log.is_some());
            match record.kind {
                LeafKind::Gap => assert!(record.value.is_none() && record.event.is_none()),
                _ => {
                    let (raw, _) = decoded(offset);
                    assert_eq!((&record.value, &record.key), (&raw.value, &raw.key), "{position}");
                }
            }
        }
    }
    let gap = made(&LOGGED, "main/auth/1/1@7").await.proven.statement;
    assert_eq!((gap.position().to_string().as_str(), gap.to()), ("main/auth/1/1@5", 9));
}

#[tokio::test]
async fn a_proof_shows_one_record_and_no_byte_of_another() {
    let file = made(&LOGGED, "main/auth/0/0@13").await.file;
    let extra = STANDARD.decode(file.lines().nth(1).unwrap().strip_prefix("extra ").unwrap()).unwrap();
    let holds = |bytes: &[u8]| extra.windows(bytes.len()).any(|window| window == bytes);
    let value = |offset: i64| decoded(offset).0.value.unwrap_or_default();
    assert!(holds(&value(13)) && holds(&leaf(13)));
    for offset in (0..40).filter(|offset| *offset != 13 && offset % 10 != 8) {
        assert!(!holds(&value(offset)), "{offset}");
        assert!(!holds(&leaf(offset)[..20]), "{offset}");
    }
    // nor does anything in clear stand outside of extra: an index, hashes, the checkpoint
    let rest: Vec<&str> = file.lines().skip(2).collect();
    let hashes = rest.iter().skip(1).take_while(|line| !line.is_empty());
    assert!(rest[0].starts_with("index ") && hashes.clone().all(|line| Digest::from_base64(line).is_some()));
}

#[tokio::test]
async fn what_is_not_there_is_not_proven_and_it_says_why() {
    let store = &LOGGED;
    assert_eq!(nothing(store, "main/nothing/0/0@0").await, Why::NoChain);
    let (sealed, next_by) = (BEGAN + 60_000 * 5, Some(BEGAN + 60_000 * 5 + 2 * 3_600_000));
    assert_eq!(nothing(store, "main/auth/0/0@40").await, Why::NotSealed { to: 40, sealed, next_by });
    assert_eq!(
        nothing(store, &format!("main/auth/0/0@{}", i64::MAX)).await,
        Why::NotSealed { to: 40, sealed, next_by }
    );
    let closed = nothing(store, "main/logins/0/0@20").await;
    assert!(matches!(closed, Why::NotSealed { to: 20, next_by: None, .. }), "{closed}");

    let lacking = |sequences: &[u64]| {
        let store = store.fork();
        sequences.iter().for_each(|sequence| store.remove(&key("main/auth/0/0", *sequence)));
        store
    };
    assert_eq!(nothing(&lacking(&[1]), "main/auth/0/0@15").await, Why::Missing(1, 2));
    assert_eq!(nothing(&lacking(&[0, 1]), "main/auth/0/0@15").await, Why::Missing(0, 2));
    assert_eq!(nothing(&lacking(&[0]), "main/auth/0/0@9").await, Why::Missing(0, 1));
    assert!(matches!(nothing(&lacking(&[4]), "main/auth/0/0@30").await, Why::NotSealed { to: 30, .. }));
    // what is missing elsewhere is no reason not to prove what is there
    assert_eq!(made(&lacking(&[0, 3, 4]), "main/auth/0/0@15").await.proven.statement.record.offset, 15);
    let marked = lacking(&[1]);
    marked.mark_deleted(&key("main/auth/0/0", 1));
    assert_eq!(nothing(&marked, "main/auth/0/0@15").await, Why::Missing(1, 2));
}

#[tokio::test]
async fn before_it_is_logged_a_record_is_proven_by_its_seal_alone_if_that_is_asked_for() {
    let bare = memory(&STORE).await;
    let why = nothing(&bare, "main/auth/0/0@12").await;
    assert_eq!(why, Why::NotLogged { sequence: 1, sealed: BEGAN + 120_000, size: None });
    let store = memory(&STORE).await;
    log(Arc::new(store.clone()), &[("main/logins/0/0", 0), ("", 5)]).await;
    let why = nothing(&store, "main/auth/0/0@12").await;
    assert_eq!(why, Why::NotLogged { sequence: 1, sealed: BEGAN + 120_000, size: Some(8) });
    for store in [bare, store] {
        let Answer::Made(pending) = answer(&store, "main/auth/0/0@12", false).await.unwrap() else { panic!() };
        assert!(pending.file.starts_with("authseal/pending-proof@1\n"));
        assert!(pending.proven.statement.log.is_none());
        assert_eq!(pending.proven.statement.record.offset, 12);
    }
}

#[tokio::test]
async fn an_event_id_is_looked_for_in_all_that_is_sealed() {
    let find = |store: &MemoryStore, id: &'static str, jobs: usize| {
        let store = Arc::new(store.clone());
        async move { prove::find_events(store, &keys(), id, jobs, Arc::new(Progress::default())).await }
    };
    let store = memory(&STORE).await;
    for jobs in [1, 3] {
        let found = find(&store, "e-39", jobs).await.unwrap();
        let position: Position = "main/auth/0/0@39".parse().unwrap();
        assert_eq!((found.positions, found.count, found.segments), (vec![position], 1, 13));
        let found = find(&store, "e-12", jobs).await.unwrap();
        let want = ["main/auth/0/0@12", "main/auth/1/0@12", "main/auth/1/1@12", "main/logins/0/0@12"];
        assert_eq!(found.positions.iter().map(Position::to_string).collect::<Vec<_>>(), want);
        // a part of an id is no id; what is no event has none
        for id in ["e-3", "e-7", "e-8", "39", "e-40", "user1"] {
            let count = find(&store, id, jobs).await.unwrap().count;
            assert_eq!(count, if id == "e-3" { 4 } else { 0 }, "{id}");
        }
    }
    // a segment that cannot be trusted may have held it
    let mut bytes = store.read_oldest(&key("main/auth/1/0", 0)).await.unwrap().unwrap().bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    store.replace(&key("main/auth/1/0", 0), bytes);
    let found = find(&store, "e-39", 2).await.unwrap();
    assert_eq!((found.count, found.segments, found.distrusted.len()), (1, 12, 1));
    assert!(found.distrusted[0].contains("main/auth/00001/0000"), "{found:?}");
}

/// What leads to main/auth/0/0@12, and what somebody makes of it who can write to the store.
#[tokio::test]
async fn whoever_harms_what_leads_to_a_record_is_found_out() {
    let keys_of_log: BTreeSet<String> =
        LOGGED.list(layout::LOG, None, 10_000).await.unwrap().into_iter().map(|entry| entry.key).collect();
    let size = Checkpoint::open(&LOGGED.read_newest(layout::CHECKPOINT).await.unwrap().unwrap().bytes, &keys(), ORIGIN)
        .unwrap()
        .size;
    let edge = format!("log/tile/0/002.p/{}", size % 256);
    assert!(size > 512 && keys_of_log.contains(&edge), "{size}");
    for harmed in [
        key("main/auth/0/0", 1),
        layout::CHECKPOINT.into(),
        "log/tile/0/000".into(),
        "log/tile/1/000.p/2".into(),
        edge,
        "log/tile/entries/000".into(),
    ] {
        let store = LOGGED.fork();
        let bytes = store.read_newest(&harmed).await.unwrap().unwrap().bytes;
        for at in [bytes.len() / 7, bytes.len() / 2, bytes.len() - 3] {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1;
            store.replace(&harmed, bytes);
            match answer(&store, "main/auth/0/0@12", true).await {
                Err(error) => assert!(matches!(error.kind(), Kind::Tampered | Kind::Config), "{harmed} {at}: {error}"),
                // an entry that was changed is another entry: this one is not among them any more
                Ok(Answer::Nothing(why)) => assert!(harmed.contains("entries"), "{harmed} {at}: {why}"),
                // a bundle, or a tile, is needed in part alone
                Ok(Answer::Made(made)) => {
                    assert!(harmed.contains("tile"), "{harmed} {at}");
                    assert_eq!(proof::check(made.file.as_bytes(), &keys()).unwrap(), made.proven);
                }
            }
        }
        store.remove(&harmed);
        assert!(!matches!(answer(&store, "main/auth/0/0@12", true).await, Ok(Answer::Made(_))), "{harmed}");
    }
}

#[tokio::test]
async fn a_segment_that_was_sealed_anew_has_no_proof() {
    // by one who has stolen the key: perfect in itself, and another than the log has
    let mut sealer = Sealer::new("main/auth/0/0", Codec::Null);
    sealer.partitions = Some(2);
    sealer.seal(Part::Records(10));
    let store = LOGGED.fork();
    store.replace(&key("main/auth/0/0", 0), sealer.out[0].bytes.clone());
    let error = answer(&store, "main/auth/0/0@3", true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tampered);
    assert!(error.to_string().contains("is another manifest of segment 0"), "{error}");
}

#[tokio::test]
async fn a_chain_of_many_segments_costs_a_few_reads() {
    let mut sealer = Sealer::new("main/long/0/0", Codec::Null);
    for n in 0..400 {
        sealer.seal(Part::Records(1 + n % 7));
    }
    let mut objects = Objects::new();
    sealer.put(&mut objects);
    let store = memory(&objects).await;
    let to = sealer.to;
    for offset in [0, 1, to / 3, to / 2, to - 1] {
        let progress = Arc::new(stores::Watched::new(store.clone()));
        let position = chain("main/long/0/0").at(offset);
        let answer = prove::prove(progress.clone(), &keys(), &position, None).await.unwrap();
        assert!(matches!(answer, Answer::Made(made) if made.proven.statement.record.offset == offset));
        let reads = progress.reads.load(Ordering::Relaxed);
        assert!(reads <= 12, "{reads} reads for offset {offset} of {to}");
    }
}

#[tokio::test]
async fn the_log_is_searched_as_other_clients_read_it() {
    // an entry of the log is proven by what lies in its bundle, whatever batch it came in
    let store = &LOGGED;
    let made = made(store, "main/logins/0/0@12").await;
    let log = made.proven.statement.log.unwrap();
    let mut found = None;
    for number in 0.. {
        let Some(stored) = store.read_oldest(&layout::batch_key(number)).await.unwrap() else { break };
        let batch = Batch::open(&stored.bytes, &keys(), ORIGIN).unwrap();
        let at = batch.lines.iter().position(|line| *line == made.proven.statement.manifest.line().unwrap());
        found = found.or(at.map(|at| batch.header.first + at as u64));
    }
    assert_eq!(found, Some(log.index));
    assert!(log.index > 512, "hours behind what was sealed with it: {}", log.index);
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
        command.env_remove(name);
    }
    let output = command.current_dir(dir).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test]
async fn the_commands_as_people_meet_them() {
    let lab = Lab::of(&STORE).await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("seal.vkey"), signer(ORIGIN, 1).verifier_key()).unwrap();
    std::fs::write(dir.join("log.vkey"), log_key().verifier_key()).unwrap();
    let store = lab.root().to_str().unwrap();
    let both = ["--key", "seal.vkey", "--log-key", "log.vkey"];
    let prove = |args: &[&str]| run(dir, &[&["prove", store][..], args].concat());
    let check = |args: &[&str]| run(dir, &[&["check-proof"][..], args].concat());

    // not logged yet
    let ran = prove(&[&["main/auth/0/0@12"][..], &both].concat());
    assert_eq!((ran.code, ran.out.as_str()), (i32::from(exit::FAILED), ""), "{}", ran.err);
    assert!(ran.err.contains("no checkpoint of a log") && ran.err.contains("--pending"), "{}", ran.err);
    let ran = prove(&["main/auth/0/0@12", "--key", "seal.vkey", "--pending"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("by the seal's signature alone"), "{}", ran.out);
    let pending = "main-auth-0-0@12.pending-proof";
    let ran = check(&[pending, "--key", "seal.vkey", "--log-key", "log.vkey"]);
    assert_eq!(ran.code, i32::from(exit::INCOMPLETE), "{}", ran.err);
    assert!(ran.out.starts_with("SEALED, NOT LOGGED: ") && ran.out.contains("\nproof_pending: "), "{}", ran.out);
    let ran = check(&[pending, "--json", "--key", "seal.vkey", "--log-key", "log.vkey"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["verdict"], &json["fault"]["code"]), (&"pending".into(), &"proof_pending".into()));
    assert_eq!(check(&[pending, "--key", "seal.vkey", "--pending"]).code, 0);

    log(Arc::new(lab.store()), &[("main/auth/0/0", 0), ("main/auth/1/1", 1)]).await;
    let ran = prove(&[&["main/auth/0/0@12"][..], &both].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let file = "main-auth-0-0@12.tlog-proof";
    assert!(ran.out.starts_with(&format!("wrote {file}, ")), "{}", ran.out);
    assert!(ran.out.contains("the event main/auth/0/0@12: LOGON FAILURE of user5 from 203.0.113.7"), "{}", ran.out);
    let again = prove(&[&["main/auth/0/0@12"][..], &both].concat());
    assert_eq!(again.code, i32::from(exit::USAGE));
    assert!(again.err.contains("is there already"), "{}", again.err);

    // on another machine: the file and the keys
    let away = tempfile::tempdir().unwrap();
    for name in [file, "seal.vkey", "log.vkey"] {
        std::fs::copy(dir.join(name), away.path().join(name)).unwrap();
    }
    let ran = run(away.path(), &[&["check-proof", file][..], &both].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["PROVEN: ", "offset 12 of partition 0 of topic auth", "user5", "What this does not show", "n\\\":12"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let ran = check(&[&[file, "--json"][..], &both].concat());
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((json["verdict"].as_str(), json["exit_code"].as_u64()), (Some("proven"), Some(0)));
    assert_eq!(json["statement"]["position"], "main/auth/0/0@12");
    assert_eq!(json["statement"]["record"]["event"]["user"], "user5");

    // changed, without keys, with wrong ones, and what is no proof
    let good = std::fs::read_to_string(dir.join(file)).unwrap();
    std::fs::write(dir.join("changed"), good.replace("\nindex ", "\nindex 1")).unwrap();
    let ran = check(&[&["changed"][..], &both].concat());
    assert_eq!(ran.code, i32::from(exit::TAMPERED));
    assert!(ran.out.starts_with("NOT PROVEN: ") && ran.out.contains("proof_log: "), "{}", ran.out);
    let ran = check(&["changed", "--json", "--key", "seal.vkey", "--log-key", "log.vkey"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["verdict"], &json["fault"]["code"]), (&"refused".into(), &"proof_log".into()));
    assert_eq!(check(&[file, "--key", "seal.vkey"]).code, i32::from(exit::USAGE));
    assert_eq!(check(&[file, "--key", "seal.vkey", "--pending"]).code, i32::from(exit::USAGE));
    let swapped = ["--key", "log.vkey", "--log-key", "log.vkey"];
    assert_eq!(check(&[&[file][..], &swapped].concat()).code, i32::from(exit::TAMPERED));
    assert_eq!(check(&[&["seal.vkey"][..], &both].concat()).code, i32::from(exit::TAMPERED));
    assert_eq!(check(&[&["absent"][..], &both].concat()).code, i32::from(exit::FAILED));

    // by the id of an event
    let ran = prove(&[&["--event-id", "e-39", "--out", "case"][..], &both].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(check(&[&["case"][..], &both].concat()).code, 0);
    let ran = prove(&[&["--event-id", "e-12"][..], &both].concat());
    assert_eq!(ran.code, i32::from(exit::FAILED));
    assert!(ran.err.contains("4 events have the id") && ran.err.contains("main/auth/1/1@12"), "{}", ran.err);
    let ran = prove(&[&["--event-id", "nobody"][..], &both].concat());
    assert!(ran.code == i32::from(exit::FAILED) && ran.err.contains("13 segments"), "{}", ran.err);
    let ran = prove(&[&["--event-id", "e-39", "main/auth/0/0@1"][..], &both].concat());
    assert_eq!(ran.code, i32::from(exit::USAGE));
    let ran = prove(&[&["main/auth/0/0@39", "--out", "-"][..], &both].concat());
    assert!(ran.code == 0 && ran.out.starts_with("c2sp.org/tlog-proof@v1\n"), "{}", ran.err);
    lab.edit(&key("main/auth/1/0", 1), |bytes| bytes.truncate(100));
    let ran = prove(&[&["--event-id", "nobody"][..], &both].concat());
    assert_eq!(ran.code, i32::from(exit::TAMPERED), "{}", ran.err);
    assert!(ran.err.contains("warning: not looked through: ") && ran.err.contains("may have held it"), "{}", ran.err);
    lab.remove(&key("main/auth/0/0", 1));
    let ran = prove(&[&["main/auth/0/0@15"][..], &both].concat());
    assert_eq!(ran.code, i32::from(exit::INCOMPLETE), "{}", ran.err);
}
