//! Witnesses and stamps over HTTP, with witnesses of our own that are honest, slow, confused or lie: what a
//! quorum has signed is published and kept, nothing else ever is, the log goes on whatever they do, and `verify`
//! says what all of it is worth. `live_anchors.rs` does the same with parties that are not ours.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod fakes;
mod lab;

use authseal::{
    audit::{
        self, AnchorOptions, Report, VerifyOptions,
        prove::{self, Answer, By},
    },
    health::Health,
    layout,
    log::{Anchors, Options, Parts, Queue, Stamping, Witnessing, run},
    manifest::Writer,
    note::{Signer, Verifiers},
    proof,
    publish::{Stream, memory::MemoryPublisher},
    remote::Http,
    retention::{LockMode, RetentionPolicy},
    store::Store,
    tlog::{Checkpoint, Policy, cosign::cosignatures, stamp::Authorities},
};
use fakes::{Fake, Mood, http};
use lab::{BEGAN, Lab, NOW, ORIGIN, STORE, signer};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// How long an answer is waited for here.
const PATIENCE: Duration = Duration::from_millis(400);

fn log_key() -> Signer {
    Signer::from_seed(ORIGIN, [5; 32]).unwrap()
}

fn keys() -> Verifiers {
    let all = [Verifiers::of(&signer(ORIGIN, 1)).text(), Verifiers::of(&log_key()).text()];
    Verifiers::parse(&all.concat()).unwrap()
}

/// Two of these witnesses are enough.
fn policy(witnesses: &[&Fake], quorum: usize) -> Arc<Policy> {
    let mut text: String =
        witnesses.iter().map(|w| format!("witness {} {} {}\n", w.name(), w.verifier_key(), w.url())).collect();
    let names: Vec<&str> = witnesses.iter().map(|w| w.name()).collect();
    text += &format!("group all-of-them {quorum} {}\nquorum all-of-them\n", names.join(" "));
    Arc::new(Policy::parse(text.as_bytes()).unwrap())
}

/// A log that is being extended in the store of a lab, by a process that lives a minute whenever it is told so.
struct Running {
    lab: Lab,
    clock: Arc<AtomicI64>,
    health: Arc<Health>,
    publisher: Arc<MemoryPublisher>,
    anchors: Anchors,
    process: Option<(oneshot::Sender<()>, JoinHandle<bool>)>,
}

impl Running {
    async fn new(anchors: Anchors) -> Self {
        let mut running = Self {
            lab: Lab::of(&STORE).await,
            clock: Arc::new(AtomicI64::new(BEGAN)),
            health: Health::new(Duration::from_secs(60)),
            publisher: Arc::new(MemoryPublisher::new()),
            anchors,
            process: None,
        };
        running.start();
        running
    }

    fn start(&mut self) {
        self.process = Some(self.process("test"));
    }

    /// A process of this name that extends the log.
    fn process(&self, instance: &str) -> (oneshot::Sender<()>, JoinHandle<bool>) {
        let now = self.clock.clone();
        let queue = Queue::default();
        let parts = Parts {
            store: Arc::new(self.lab.store()),
            signer: Arc::new(log_key()),
            keys: Arc::new(Verifiers::of(&log_key())),
            seal_keys: Arc::new(Verifiers::of(&signer(ORIGIN, 1))),
            clock: Arc::new(move || now.load(Ordering::Relaxed)),
            publisher: Some(self.publisher.clone()),
            health: self.health.clone(),
            queue: queue.clone(),
        };
        for text in ["main/auth/0/0", "main/auth/1/1", "main/logins/0/0"] {
            queue.opened(&lab::chain(text), Some(0));
        }
        let writer = Writer { version: "0.1.0".into(), instance: instance.into() };
        let retention = RetentionPolicy { mode: LockMode::None, period: Duration::ZERO };
        let every = Duration::from_millis(20);
        let options = Options { every, anchors: self.anchors.clone(), ..Options::new(ORIGIN, writer, retention) };
        let (stop, stopped) = oneshot::channel();
        (stop, tokio::spawn(run(parts, options, async move { drop(stopped.await) })))
    }

    async fn stop(&mut self) {
        let (stop, process) = self.process.take().unwrap();
        let _ = stop.send(());
        process.await.unwrap();
    }

    /// A minute passes: the log gets an entry. Its new size.
    async fn minute(&self) -> u64 {
        let before = self.checkpoint().await.map_or(0, |(checkpoint, _)| checkpoint.size);
        self.clock.fetch_add(60_000, Ordering::Relaxed);
        let mut looks = 0;
        until("the log to grow", async || {
            // a process that began when this minute had, says so in the next one
            looks += 1;
            if looks % 500 == 0 {
                self.clock.fetch_add(60_000, Ordering::Relaxed);
            }
            let (checkpoint, _) = self.checkpoint().await?;
            (checkpoint.size > before).then_some(checkpoint.size)
        })
        .await
    }

    /// The checkpoint in the store.
    async fn checkpoint(&self) -> Option<(Checkpoint, String)> {
        let stored = self.lab.store().read_newest(layout::CHECKPOINT).await.unwrap()?;
        let note = String::from_utf8(stored.bytes.to_vec()).unwrap();
        Some((Checkpoint::open(note.as_bytes(), &keys(), ORIGIN).unwrap(), note))
    }

    /// Waits until the checkpoint in the store has so many cosignatures of the policy; its size.
    async fn cosigned(&self, count: usize) -> u64 {
        let policy = self.anchors.witnessing.as_ref().unwrap().policy.clone();
        until("cosignatures", async || {
            let (checkpoint, note) = self.checkpoint().await?;
            let found = cosignatures(note.as_bytes(), policy.witnesses().iter().map(|w| &w.key)).unwrap();
            (found.len() == count).then_some(checkpoint.size)
        })
        .await
    }

    async fn warning(&self, part: &str, word: &str) {
        until(word, async || {
            let told = self.health.parts().get(part).and_then(|part| part.warning.clone());
            told.filter(|told| told.contains(word))
        })
        .await;
    }

    async fn kept(&self) -> Vec<String> {
        let entries = self.lab.store().list(layout::WITNESSED, None, 1000).await.unwrap();
        entries.into_iter().map(|entry| entry.key).collect()
    }

    async fn verify(&self, anchors: AnchorOptions) -> Report {
        let options = VerifyOptions { anchors, require_log: true, ..VerifyOptions::new(NOW) };
        audit::verify(Arc::new(self.lab.store()), &keys(), options).await.unwrap()
    }
}

/// Tries until there is an answer; a minute is longer than anything here takes.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

fn witnessing(policy: Arc<Policy>) -> Anchors {
    let remote = Arc::new(Http::new().unwrap().with_patience(PATIENCE));
    let pause = Duration::from_millis(5);
    let witnessing = Witnessing { pause, keep: Duration::ZERO, ..Witnessing::new(policy, remote) };
    Anchors { witnessing: Some(witnessing), stamping: None }
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().filter(|finding| finding.is_failure()).map(|finding| finding.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_signs_and_what_it_signed_is_published_kept_and_graded() {
    let fakes = [Fake::new("one", 1, &log_key()), Fake::new("two", 2, &log_key()), Fake::new("three", 3, &log_key())];
    fakes[2].be(Mood::Silent);
    let policy = policy(&fakes.each_ref(), 2);
    let mut running = Running::new(witnessing(policy.clone())).await;
    running.minute().await;
    let size = running.cosigned(2).await;
    running.warning("witness:three", "does not answer").await;
    assert!(running.health.parts()["witness:one"].warning.is_none());

    // others hold it too: on the topic
    let on_topic = until("the topic", async || {
        let sent = running.publisher.sent_to(Stream::Checkpoints);
        let notes = sent.iter().map(|message| String::from_utf8(message.value.clone().unwrap().to_vec()).unwrap());
        notes.into_iter().find(|note| note.matches('\u{2014}').count() == 3)
    })
    .await;
    assert!(Checkpoint::open(on_topic.as_bytes(), &keys(), ORIGIN).is_ok());

    // a restart knows nothing of what they have seen, and learns it from them
    running.stop().await;
    running.start();
    let after = running.minute().await;
    until("the next one", async || (running.cosigned(2).await >= after).then_some(())).await;
    let asked = fakes[0].asked();
    assert!(asked.iter().any(|asked| asked.status == 409), "{asked:?}");
    assert!(asked.iter().any(|asked| asked.status == 200 && asked.old >= size && asked.size > asked.old), "{asked:?}");

    // the third comes back, and is not left out
    fakes[2].be(Mood::Honest);
    running.minute().await;
    running.cosigned(3).await;
    until("it to be kept", async || (!running.kept().await.is_empty()).then_some(())).await;
    running.stop().await;

    let believed = AnchorOptions { policy: Some(policy), require_witnessed: true, ..AnchorOptions::default() };
    let report = running.verify(believed).await;
    assert_eq!((report.exit_code(), codes(&report)), (0, vec![]));
    let anchors = &report.log.as_ref().unwrap().anchors;
    assert_eq!((anchors.grade, anchors.witnessed), ("witnessed", report.log.as_ref().unwrap().checkpoint));
    assert_eq!(anchors.cosigned_by.len(), 3);
    let text = report.to_string();
    assert!(text.contains("grade    witnessed\n") && text.contains("witnessed all of it"), "{text}");

    // who believes nobody is told no more than before
    let report = running.verify(AnchorOptions::default()).await;
    assert_eq!((report.exit_code(), report.log.as_ref().unwrap().anchors.grade), (0, "unwitnessed"));
    assert!(report.to_string().contains("consistent with what this store shows"));
}

/// How witnesses fail, and what is said of it. Nothing of it is ever published.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_carries_what_witnesses_have_signed() {
    let fakes = [Fake::new("one", 1, &log_key()), Fake::new("two", 2, &log_key())];
    let two = policy(&fakes.each_ref(), 2);
    let mut running = Running::new(witnessing(two.clone())).await;
    running.minute().await;
    running.cosigned(2).await;
    let first = until("it to be kept", async || running.kept().await.first().cloned()).await;
    let first = layout::parse_witnessed_key(&first).unwrap();
    // the log grows, and nobody answers any more
    fakes.iter().for_each(|fake| fake.be(Mood::Silent));
    let newest = running.minute().await;
    running.stop().await;

    let prove = async |by| {
        let position = "main/auth/0/0@2".parse().unwrap();
        let answer = prove::prove(Arc::new(running.lab.store()), &keys(), &position, Some(by)).await.unwrap();
        let Answer::Made(made) = answer else { panic!("{answer:?}") };
        let proven = proof::check(made.file.as_bytes(), &keys()).unwrap();
        (made.file, proven.statement.log.as_ref().unwrap().checkpoint.size, proven)
    };
    for (by, size, name) in
        [(By::Best, first, "witnessed"), (By::Witnessed, first, "witnessed"), (By::Newest, newest, "unwitnessed")]
    {
        let (_, of, proven) = prove(by).await;
        assert_eq!((of, proven.grade(Some(&two), None).unwrap().name()), (size, name), "{by:?}");
        assert_eq!(proven.grade(None, None).unwrap().name(), "unwitnessed", "who believes nobody is told nothing");
    }
    let strangers = [Fake::new("one", 7, &log_key()), Fake::new("two", 8, &log_key())];
    let (file, _, proven) = prove(By::Best).await;
    assert_eq!(proven.grade(Some(&policy(&strangers.each_ref(), 1)), None).unwrap().name(), "unwitnessed");
    // what a witness has not signed under its name is a forgery, and not merely missing
    let line = file.lines().rfind(|line| line.starts_with('\u{2014}')).unwrap();
    let end = line.len() - 8;
    let swapped = if line.as_bytes()[end] == b'A' { "B" } else { "A" };
    let forged = file.replace(line, &format!("{}{swapped}{}", &line[..end], &line[end + 1..]));
    let forged = proof::check(forged.as_bytes(), &keys()).unwrap();
    assert_eq!(forged.grade(Some(&two), None).unwrap_err().code, "cosignature");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_witness_answers_the_log_goes_on_and_nothing_false_is_published() {
    let other = Checkpoint { origin: ORIGIN.into(), size: 3, root: authseal::digest::Digest::of(b"other") };
    let rows: [(Mood, &str); 13] = [
        (Mood::Silent, "does not answer: "),
        (Mood::Endless, "answered with more than 65536 bytes"),
        (Mood::Drops, "does not answer"),
        (Mood::Status(404, "who?"), "it does not know the log example.com/auth; ask its operator to add it: who?"),
        (Mood::Status(403, ""), "it does not know the key of this log; give its operator example.com/auth+"),
        (Mood::Status(422, ""), "are not the beginning of this log, or tiles in the store are broken"),
        (Mood::Status(500, "oops\u{1b}[31m"), "answers 500: oops [31m"),
        (Mood::Status(302, ""), "answers 302, which is no answer of a witness"),
        (Mood::Status(409, "soon\n"), "answers 409, which is no answer of a witness: soon"),
        (Mood::Status(409, "999999\n"), "has cosigned a log of 999999 entries, and the one in this store has"),
        (Mood::Status(409, "0\n"), "says that it has seen nothing, and does not take the first checkpoint"),
        (Mood::Status(200, "<html>\n"), "its answer is not signature lines"),
        (Mood::Signs(other.text()), "a signature that does not fit this checkpoint"),
    ];
    let fake = Fake::new("liar", 9, &log_key());
    let policy = policy(&[&fake], 1);
    fake.be(rows[0].0.clone());
    let mut running = Running::new(witnessing(policy)).await;
    for (mood, word) in rows {
        fake.be(mood);
        running.minute().await;
        running.warning("witness:liar", word).await;
        let (_, note) = running.checkpoint().await.unwrap();
        assert_eq!(note.matches('\u{2014}').count(), 1, "{word}: {note}");
    }
    assert!(running.kept().await.is_empty());
    assert!(
        running.health.parts().values().all(|part| part.reason.is_none() || part.reason.as_deref() == Some("starting"))
    );
    // and when it comes to its senses, all is well
    fake.be(Mood::Honest);
    running.minute().await;
    running.cosigned(1).await;
    until("the warning to go", async || running.health.parts()["witness:liar"].warning.is_none().then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_rewritten_or_cut_off_contradicts_what_others_have_seen() {
    let fake = Fake::new("one", 1, &log_key());
    let policy = policy(&[&fake], 1);
    let mut running = Running::new(witnessing(policy.clone())).await;
    for _ in 0..3 {
        running.minute().await;
        running.cosigned(1).await;
    }
    until("it to be kept", async || (!running.kept().await.is_empty()).then_some(())).await;
    running.stop().await;
    let believed = AnchorOptions { policy: Some(policy), require_witnessed: true, ..AnchorOptions::default() };
    assert_eq!(running.verify(believed.clone()).await.exit_code(), 0);
    let kept = running.kept().await;
    let newest = kept.last().unwrap().clone();

    // cut off, with an older checkpoint in place of the newest; --require fails too, whoever believes what
    let lab = &running.lab;
    let batches: Vec<String> =
        lab.store().list(layout::BATCHES, None, 1000).await.unwrap().into_iter().map(|e| e.key).collect();
    let (last, bytes) = (batches.last().unwrap(), lab.read(batches.last().unwrap()));
    let checkpoint = lab.read(layout::CHECKPOINT);
    lab.remove(last);
    lab.write(layout::CHECKPOINT, &lab.read(&kept[0]));
    let report = running.verify(AnchorOptions::default()).await;
    assert!(codes(&report).contains(&"anchor_ahead"), "{:?}", codes(&report));
    assert_eq!(report.findings.iter().find(|f| f.name == "anchor_ahead").unwrap().place.key.as_ref(), Some(&newest));
    lab.write(last, &bytes);
    lab.write(layout::CHECKPOINT, &checkpoint);
    assert_eq!(running.verify(believed.clone()).await.exit_code(), 0);

    // rewritten with the log's own key: genuine batches, a genuine checkpoint, and a kept one that is of another
    // log
    let good = Checkpoint::open(&lab.read(&newest), &keys(), ORIGIN).unwrap();
    let forked = Checkpoint { root: authseal::digest::Digest::of(b"another history"), ..good.clone() };
    let bytes = lab.read(&newest);
    lab.write(&newest, [forked.sign(&log_key()).unwrap(), fake.cosign(&forked.text())].concat().as_bytes());
    let report = running.verify(believed.clone()).await;
    assert_eq!(codes(&report), ["anchor_fork"]);
    assert_eq!(report.exit_code(), 10);

    // a cosignature that was changed; a checkpoint under another size; one that is not of the log; one that is none
    for (edit, code) in [
        ([forked.sign(&log_key()).unwrap(), fake.cosign(&good.text())].concat(), "cosignature"),
        (Checkpoint { size: good.size + 1, ..good.clone() }.sign(&log_key()).unwrap(), "log_form"),
        (good.sign(&Signer::from_seed("other", [6; 32]).unwrap()).unwrap(), "log_unknown_key"),
        ("garbage".into(), "log_form"),
    ] {
        lab.write(&newest, edit.as_bytes());
        let report = running.verify(believed.clone()).await;
        assert!(codes(&report).contains(&code), "{code}: {:?}", codes(&report));
    }
    lab.write(&newest, &bytes);
    lab.write("log/witnessed/12", b"x");
    assert_eq!(codes(&running.verify(believed.clone()).await), ["unexpected_object"]);
    lab.remove("log/witnessed/12");

    // nobody has seen it: told, and a failure only if it was asked for
    for key in &kept {
        lab.remove(key);
    }
    lab.write(layout::CHECKPOINT, good.sign(&log_key()).unwrap().as_bytes());
    let report = running.verify(believed.clone()).await;
    assert_eq!((codes(&report), report.exit_code()), (vec!["unwitnessed"], 11));
    let told = AnchorOptions { require_witnessed: false, ..believed };
    assert_eq!(running.verify(told).await.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_witness_signs_a_second_history_and_that_is_told() {
    let fake = Fake::new("one", 1, &log_key());
    let policy = policy(&[&fake], 1);
    let mut first = Running::new(witnessing(policy.clone())).await;
    first.minute().await;
    // more than the manifests, which are the same in both stores
    let grown = first.minute().await;
    until("a minute to be signed", async || (first.cosigned(1).await >= grown).then_some(())).await;
    first.stop().await;
    let size = fake.asked().iter().filter(|asked| asked.status == 200).map(|asked| asked.size).max().unwrap();
    // the same key, the same witness, another store: at another minute, so that the entries are others
    let mut second = Running::new(witnessing(policy)).await;
    second.clock.fetch_add(3_600_000, Ordering::Relaxed);
    while second.minute().await < size {}
    // by its size it is another log, or by the proof
    until("the witness to refuse", async || {
        let told = second.health.parts().get("witness:one").and_then(|part| part.warning.clone())?;
        (told.contains("has cosigned another log") || told.contains("are not the beginning")).then_some(())
    })
    .await;
    second.stop().await;
    let (_, note) = second.checkpoint().await.unwrap();
    assert_eq!(note.matches('\u{2014}').count(), 1, "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_overtake_each_other_are_no_incident() {
    let fake = Fake::new("one", 1, &log_key());
    let mut running = Running::new(witnessing(policy(&[&fake], 1))).await;
    let (stop, other) = running.process("other");
    for _ in 0..20 {
        running.minute().await;
        let told = running.health.parts().get("witness:one").and_then(|part| part.warning.clone());
        assert_eq!(told, None);
    }
    running.cosigned(1).await;
    let _ = stop.send(());
    other.await.unwrap();
    running.stop().await;
    let sizes: Vec<u64> = fake.asked().iter().filter(|asked| asked.status == 200).map(|asked| asked.size).collect();
    assert!(sizes.is_sorted() && sizes.len() > 2, "{sizes:?}");
    let believed = AnchorOptions {
        policy: Some(running.anchors.witnessing.as_ref().unwrap().policy.clone()),
        ..AnchorOptions::default()
    };
    assert_eq!(codes(&running.verify(believed).await), [""; 0]);
}

/// What an authority may answer instead of a stamp of what it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn only_stamps_of_the_authority_that_is_named_are_stored() {
    let answer = include_bytes!("data/stamps/rsa.tsr");
    let authorities = Arc::new(Authorities::parse(include_bytes!("data/stamps/rsa-ca.pem")).unwrap());
    let rows: [(u16, &[u8], &str); 4] = [
        (200, answer, "stamp_imprint"),
        (200, b"<html>", "stamp_form"),
        (200, &[0x30, 11, 0x30, 9, 2, 1, 2, 0x30, 4, 0x0c, 2, b'n', b'o'], "the authority refused: status 2: no"),
        (503, b"later", "answers 503: later"),
    ];
    for (status, body, word) in rows {
        let body = body.to_vec();
        let url = http(move |_, _| Some((status, body.clone())));
        let remote = Arc::new(Http::new().unwrap().with_patience(PATIENCE));
        let stamping = Stamping { url, authorities: authorities.clone(), every: Duration::from_secs(60), remote };
        let mut running = Running::new(Anchors { witnessing: None, stamping: Some(stamping) }).await;
        running.minute().await;
        running.warning("log:stamps", word).await;
        running.stop().await;
        assert!(running.lab.store().list(layout::STAMPS, None, 10).await.unwrap().is_empty(), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stamps_that_are_none_or_of_something_else_are_found() {
    let mut running = Running::new(Anchors::default()).await;
    running.minute().await;
    running.stop().await;
    let authorities = Some(Arc::new(Authorities::parse(include_bytes!("data/stamps/rsa-ca.pem")).unwrap()));
    let believed = AnchorOptions { authorities, require_stamped: true, ..AnchorOptions::default() };
    let report = running.verify(believed.clone()).await;
    assert_eq!((codes(&report), report.exit_code()), (vec!["unstamped"], 11));

    let (lab, answer) = (&running.lab, include_bytes!("data/stamps/rsa.tsr"));
    let (checkpoint, note) = running.checkpoint().await.unwrap();
    let (of, stamp) = (layout::stamped_key(checkpoint.size), layout::stamp_key(checkpoint.size));
    let believed = AnchorOptions { require_stamped: false, ..believed };
    lab.write(&stamp, answer);
    assert_eq!(codes(&running.verify(believed.clone()).await), ["stamp_form"], "the checkpoint is not there");
    lab.write(&of, note.as_bytes());
    assert_eq!(codes(&running.verify(believed.clone()).await), ["stamp_imprint"]);
    lab.write(&stamp, b"garbage");
    assert_eq!(codes(&running.verify(AnchorOptions::default()).await), ["stamp_form"]);
    lab.write(&of, include_bytes!("data/stamps/checkpoint"));
    assert_eq!(codes(&running.verify(believed.clone()).await), ["log_unknown_key"]);
    lab.remove(&stamp);
    assert_eq!(codes(&running.verify(believed.clone()).await), [""; 0], "one that was never stamped says nothing");
    lab.write("log/stamps/x", b"x");
    assert_eq!(codes(&running.verify(believed).await), ["unexpected_object"]);
}
