//! A program that signs, as a KMS or an HSM is connected: a real process, that signs, signs wrongly, hangs, dies or is
//! not there. What it gives is verified before it is used; sealing waits for it, loses nothing, and goes on by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod lab;
#[allow(dead_code)] // each test file uses its part of the simulated world
mod sim;

use async_trait::async_trait;
use authseal::{
    chain::Head,
    error::{Error, Kind, Result},
    note::{KeyId, Signer, Verifiers},
    segment,
    signing::{self, CommandSigner, Sign},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

fn key() -> Signer {
    Signer::from_seed("example.com/auth/seal", [7; 32]).unwrap()
}

/// A script, and the signer that runs it.
fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn runs(path: &Path, timeout: Duration) -> CommandSigner {
    CommandSigner::new(vec![path.display().to_string()], &key().verifier_key(), timeout).unwrap()
}

/// The ten lines that a user of a KMS writes, with OpenSSL in place of the KMS.
fn openssl(dir: &Path) -> PathBuf {
    let fresh = authseal::keyfile::Fresh { salt: [1; 16], iv: [2; 16] };
    let pem = authseal::keyfile::encrypt(&key(), "a long passphrase", fresh).unwrap();
    fs::write(dir.join("key.pem"), &*pem).unwrap();
    let at = dir.display();
    script(
        dir,
        "openssl",
        &format!(
            "t=$(mktemp) && cat > \"$t\" && openssl pkeyutl -sign -rawin -inkey {at}/key.pem \
             -passin 'pass:a long passphrase' -in \"$t\" | base64 -w0; rm -f \"$t\""
        ),
    )
}

/// That our encrypted files are what OpenSSL reads is shown by the way.
#[tokio::test]
async fn a_program_signs_as_the_key_does() {
    let dir = tempfile::tempdir().unwrap();
    let signer = runs(&openssl(dir.path()), Duration::from_secs(60));
    let note = signing::note(&signer, "one line\n").await.unwrap();
    assert_eq!(note, key().sign("one line\n").unwrap());
    assert_eq!(Sign::name(&signer), "example.com/auth/seal");
}

#[tokio::test]
async fn a_program_that_is_wrong_hangs_or_dies_is_told_and_nothing_is_signed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let other = Signer::from_seed("example.com/auth/seal", [8; 32]).unwrap().sign("one line\n").unwrap();
    let foreign = other.trim_end().rsplit(' ').next().unwrap();
    let foreign =
        script(path, "foreign", &format!("cat > /dev/null; echo {foreign} | base64 -d | tail -c 64 | base64 -w0"));
    let wait = Duration::from_secs(60);
    let cases = [
        (foreign, wait, Kind::Config, "not of this key"),
        (script(path, "text", "cat > /dev/null; echo signed"), wait, Kind::Config, "one line of base64"),
        (script(path, "short", "echo AAAA"), wait, Kind::Config, "one line of base64"),
        (script(path, "nothing", "exit 0"), wait, Kind::Config, "one line of base64"),
        (script(path, "endless", "cat /dev/zero"), Duration::from_millis(200), Kind::Retry, ""),
        (script(path, "refuses", "echo 'no such key alias' >&2; exit 3"), wait, Kind::Retry, "no such key alias"),
        (script(path, "dies", "kill -9 $$"), wait, Kind::Retry, "signal: 9"),
        (script(path, "hangs", "exec sleep 600"), Duration::from_millis(200), Kind::Retry, "did not sign within 0.2 s"),
        (path.join("absent"), wait, Kind::Retry, "cannot be started"),
    ];
    for (script, timeout, kind, words) in cases {
        let error = signing::note(&runs(&script, timeout), "one line\n").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {error}", script.display());
        assert!(error.to_string().contains(words), "{}: {error}", script.display());
    }
    assert!(CommandSigner::new(vec![], &key().verifier_key(), wait).is_err());
    assert!(CommandSigner::new(vec!["x".into()], "no key", wait).is_err());
}

/// The order is the one that `ingest` keeps: checked first, signed then, and what comes back is opened again.
#[tokio::test]
async fn a_segment_is_finished_with_a_note_of_its_own_line_only() {
    let dir = tempfile::tempdir().unwrap();
    let signer = runs(&openssl(dir.path()), Duration::from_secs(60));
    let world = lab::Sealer::new("main/auth/0/0", segment::Codec::Null);
    let draft = || world.draft(lab::Part::Records(3));
    let manifest = || world.manifest(lab::Part::Records(3), &draft());
    let keys = signing::verifiers(&signer).unwrap();
    let unsigned = segment::prepare(draft(), manifest(), Sign::name(&signer)).unwrap();
    let note = signing::note(&signer, unsigned.line()).await.unwrap();
    let sealed = unsigned.finish(&note, &keys).unwrap();
    assert_eq!(segment::open(&sealed.bytes, &Verifiers::of(&key())).unwrap().hash, Head::of_sealed(&sealed).hash);
    let unsigned = segment::prepare(draft(), manifest(), Sign::name(&signer)).unwrap();
    let other = signing::note(&signer, &unsigned.line().replace("\"records\":3", "\"records\":4")).await.unwrap();
    assert_eq!(unsigned.finish(&other, &keys).unwrap_err().kind(), Kind::Bug);
    assert!(segment::prepare(draft(), manifest(), "example.com/other/seal").is_err());
}

/// Signs as its key does, but not always: the script says what becomes of each call.
struct Moody {
    key: Arc<Signer>,
    calls: AtomicU64,
    mood: fn(u64) -> Mood,
}

#[derive(Clone, Copy)]
enum Mood {
    Good,
    /// It is away.
    Away,
    /// It signs something else.
    Wrong,
    /// It takes minutes.
    Slow,
}

#[async_trait]
impl Sign for Moody {
    fn name(&self) -> &str {
        self.key.name()
    }

    fn id(&self) -> KeyId {
        self.key.id()
    }

    fn verifier_key(&self) -> String {
        self.key.verifier_key()
    }

    async fn sign(&self, text: &str) -> Result<[u8; 64]> {
        match (self.mood)(self.calls.fetch_add(1, Ordering::Relaxed)) {
            Mood::Good => {}
            Mood::Away => return Err(Error::retry("the signer does not answer")),
            Mood::Wrong => return Ok(self.key.signature("something else")),
            Mood::Slow => tokio::time::sleep(Duration::from_secs(300)).await,
        }
        Ok(self.key.signature(text))
    }
}

fn world_signed_by(mood: fn(u64) -> Mood) -> sim::World {
    let mut world = sim::World::new(7);
    world.signs = Some(Arc::new(Moody { key: world.signer.clone(), calls: AtomicU64::new(0), mood }));
    world
}

/// Everything that is produced is sealed in the end, each offset once.
async fn sealed(world: &sim::World) {
    for partition in 0..sim::PARTITIONS {
        assert_eq!(world.sealed_to(partition).await, world.end(partition), "partition {partition}");
    }
}

#[tokio::test(start_paused = true)]
async fn sealing_waits_for_a_signer_that_is_away_and_goes_on_by_itself() {
    let world = world_signed_by(|call| if call < 40 { Mood::Away } else { Mood::Good });
    let mut random = sim::Random(1);
    (0..100).for_each(|n| world.produce(&mut random, n % sim::PARTITIONS));
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(20).await;
    let told = one.status.parts().get("signer").cloned().flatten();
    assert!(told.as_ref().is_some_and(|why| why.contains("does not answer")), "{told:?}");
    assert!(world.chain(0).await.is_empty(), "nothing is sealed without a signature");
    world.pass(300).await;
    assert_eq!(one.status.parts().get("signer"), Some(&None));
    sealed(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_moody_signer_costs_time_and_nothing_else() {
    let world = world_signed_by(|call| match call % 5 {
        1 => Mood::Wrong,
        2 => Mood::Away,
        3 => Mood::Slow,
        _ => Mood::Good,
    });
    let mut random = sim::Random(2);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    for round in 0..6 {
        (0..60).for_each(|n| world.produce(&mut random, (n + round) % sim::PARTITIONS));
        world.pass(30).await;
    }
    world.pass(3600).await;
    sealed(&world).await;
}

/// A process that dies while it waits for a signature has sealed nothing; the next one reads it again.
#[tokio::test(start_paused = true)]
async fn a_crash_while_waiting_for_a_signature_loses_nothing() {
    let mut world = world_signed_by(|_| Mood::Slow);
    let mut random = sim::Random(3);
    (0..90).for_each(|n| world.produce(&mut random, n % sim::PARTITIONS));
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(60).await;
    one.task.abort();
    assert!(world.chain(0).await.is_empty());
    world.signs = None;
    let two = world.start("two");
    world.cluster.assign(&two.source, &world.all());
    world.pass(120).await;
    sealed(&world).await;
}
